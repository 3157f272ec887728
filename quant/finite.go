package quant

import "github.com/llima-build/llima/formats/tensor"

// CheckFinite reports the first weight of a matrix [n, k] of F32, F16 or BF16
// that is NaN or infinite, by row and column: what carries weights over as
// they are must not carry those.
func CheckFinite(src []byte, dt tensor.DType, n, k int) error {
	r, err := newRows(src, dt, n, k)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := r.read(i); err != nil {
			return err
		}
	}
	return nil
}

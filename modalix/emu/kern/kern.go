// Package kern multiplies rows by weight panels (docs/isa.md §4) with the
// vector instructions of the CPU, within the bounds of §1. It knows neither
// instructions nor tiles. dot_amd64.s is written by gen (go run . there).
package kern

// Code is how a panel holds its weights.
type Code uint8

// The codes of which there are kernels.
const (
	BF16 Code = iota
	INT8
	INT4
	numCodes
)

// Rows is the outputs of a panel.
const Rows = 16

const blockInputs = 32

// bytesPerBlock is the size of 32 inputs of a panel.
var bytesPerBlock = [numCodes]int{BF16: 1024, INT8: 512, INT4: 256}

// Dot adds to each of acc the product of one row of a, which has inputs
// numbers a row, with a panel. A scale vector serves group inputs, a multiple
// of 32; BF16 has none. It may only be called when Available is true.
func Dot(code Code, acc [][Rows]float32, a []float32, inputs int, codes []byte, scales []float32, group int) {
	groups := inputs / group
	if len(a) < len(acc)*inputs || len(codes) < inputs/blockInputs*bytesPerBlock[code] ||
		inputs == 0 || group%blockInputs != 0 || inputs%group != 0 || code != BF16 && len(scales) < groups*Rows {
		panic("llima: internal error: kern: operands are too short")
	}
	var scale *float32
	if code != BF16 {
		scale = &scales[0]
	}
	for len(acc) > 0 {
		kernel := 3
		for 1<<kernel > len(acc) {
			kernel--
		}
		dots[code][kernel](&acc[0][0], &a[0], inputs*4, &codes[0], scale, groups, group/blockInputs)
		n := 1 << kernel
		acc, a = acc[n:], a[n*inputs:]
	}
}

// WidenF16 converts binary16 numbers to F32, exactly. len(dst) is a multiple of 16.
func WidenF16(dst []float32, src []byte) {
	if n := len(dst) / Rows; n > 0 {
		widenF16(&dst[0], &src[:2*len(dst)][0], n)
	}
}

//go:build !amd64

package kern

type dot func(acc, a *float32, lda int, codes *byte, scales *float32, groups, blocks int)

var dots [numCodes][4]dot

func widenF16(_ *float32, _ *byte, _ int) { panic("llima: internal error: kern: no kernels") }

// Available reports whether this CPU has the instructions: none are used here.
func Available() bool { return false }

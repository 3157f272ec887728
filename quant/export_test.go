package quant

import "github.com/llima-build/llima/quant/kern"

// WriteBlocks is Write with blocks of about so many weights.
var WriteBlocks = write

// SetKernels exchanges the kernels in use, and returns what brings them back.
func SetKernels(s *kern.Set) (restore func()) {
	was := set
	set = s
	return func() { set = was }
}

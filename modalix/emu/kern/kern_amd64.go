package kern

import "golang.org/x/sys/cpu"

type dot func(acc, a *float32, lda int, codes *byte, scales *float32, groups, blocks int)

var dots = [numCodes][4]dot{
	BF16: {dotBF16x1, dotBF16x2, dotBF16x4, dotBF16x8},
	INT8: {dotINT8x1, dotINT8x2, dotINT8x4, dotINT8x8},
	INT4: {dotINT4x1, dotINT4x2, dotINT4x4, dotINT4x8},
}

// Available reports whether this CPU has the instructions: AVX-512F.
func Available() bool { return cpu.X86.HasAVX512F }

package kern

import "golang.org/x/sys/cpu"

var avx2Set = Set{
	Name: "AVX2", lanes: 8,
	wide:      []dot{dotWideAVX2x1, dotWideAVX2x2, dotWideAVX2x4},
	packed:    [numCodes]dot{dotBF16AVX2, dotINT8AVX2, dotINT4AVX2, dotUINT4AVX2},
	unpack:    [numCodes]unpack{unpackBF16AVX2, unpackINT8AVX2, unpackINT4AVX2, unpackUINT4AVX2},
	sums:      sumsAVX2,
	widenF16:  widenF16AVX2,
	widenBF16: widenBF16AVX2,
	narrow:    narrowBF16AVX2,
	vector:    &avx2Vector,
}

var avx512Set = Set{
	Name: "AVX-512", lanes: 16,
	wide:      []dot{dotWideAVX512x1, dotWideAVX512x2, dotWideAVX512x4, dotWideAVX512x8},
	packed:    [numCodes]dot{dotBF16AVX512, dotINT8AVX512, dotINT4AVX512, dotUINT4AVX512},
	unpack:    [numCodes]unpack{unpackBF16AVX512, unpackINT8AVX512, unpackINT4AVX512, unpackUINT4AVX512},
	sums:      sumsAVX512,
	widenF16:  widenF16AVX512,
	widenBF16: widenBF16AVX512,
	narrow:    narrowBF16AVX512,
	vector:    &avx512Vector,
}

var bf16Set = Set{
	Name: "AVX-512 BF16", lanes: 16,
	wide:      []dot{dotWideBF16x1, dotWideBF16x2, dotWideBF16x4, dotWideBF16x8},
	packed:    [numCodes]dot{dotWideBF16x1, dotINT8BF16, dotINT4BF16, dotUINT4BF16},
	unpack:    [numCodes]unpack{nil, unpackINT8BF16, unpackINT4BF16, unpackUINT4BF16},
	sums:      sumsAVX512,
	widenF16:  widenF16AVX512,
	widenBF16: widenBF16AVX512,
	narrow:    narrowBF16AVX512,
	vector:    &avx512Vector,
	subnormal: subnormalAVX512,
	checked:   dotBF16BF16,
	f32:       &avx512Set,
}

// Sets returns the kernels that this CPU can run, the fastest first.
func Sets() []*Set {
	var sets []*Set
	wide := cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL
	if wide && cpu.X86.HasAVX512BF16 && cpu.X86.HasAVX512VBMI {
		sets = append(sets, &bf16Set)
	}
	if wide {
		sets = append(sets, &avx512Set)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		sets = append(sets, &avx2Set)
	}
	return sets
}

// Pause tells the CPU that the caller waits in a loop.
func Pause() { pause() }

package kern

import (
	"golang.org/x/sys/cpu"

	"github.com/llima-build/llima/formats/tensor"
)

var avx2Set = Set{Name: "AVX2", k: &kernels{
	lanes: 8,
	widen: map[tensor.DType]func(*float32, *byte, int) uint32{
		tensor.BF16: widenBF16AVX2, tensor.F16: widenF16AVX2, tensor.F32: widenF32AVX2,
	},
	peaks: peaksAVX2, nearest: nearestAVX2, round: roundAVX2,
	fix: fixAVX2, turn: turnAVX2,
	search4: [2]find{search4AVX2, search4LongAVX2}, search8: [2]find{search8AVX2, search8LongAVX2},
	encode: encodeAVX2, narrow: narrowAVX2, pack4: pack4AVX2, pack8: pack8AVX2,
}}

var avx512Set = Set{Name: "AVX-512", k: &kernels{
	lanes: 16,
	widen: map[tensor.DType]func(*float32, *byte, int) uint32{
		tensor.BF16: widenBF16AVX512, tensor.F16: widenF16AVX512, tensor.F32: widenF32AVX512,
	},
	peaks: peaksAVX512, nearest: nearestAVX512, round: roundAVX512,
	fix: fixAVX512, turn: turnAVX2,
	search4: [2]find{search4AVX512, search4LongAVX512}, search8: [2]find{search8AVX512, search8LongAVX512},
	encode: encodeAVX512, narrow: narrowAVX512, pack4: pack4AVX2, pack8: pack8AVX2,
}}

var vnniSet = Set{Name: "AVX-512 VNNI", k: withVNNI(*avx512Set.k)}

// withVNNI replaces the kernels that a product and its sum in one make faster.
func withVNNI(k kernels) *kernels {
	k.search4, k.search8 = [2]find{search4VNNI, search4LongVNNI}, [2]find{search8VNNI, search8LongVNNI}
	return &k
}

// Sets returns the sets that this CPU can run, the fastest first, plain Go
// last.
func Sets() []*Set {
	var sets []*Set
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasFMA {
		if cpu.X86.HasAVX512VNNI {
			sets = append(sets, &vnniSet)
		}
		sets = append(sets, &avx512Set)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		sets = append(sets, &avx2Set)
	}
	return append(sets, Plain)
}

// Command emu writes the assembly of package kern of modalix/emu; make kernels runs it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// level adds to vectors what the kernels of this package do with them.
type level struct{ vector.Level }

var (
	avx2   = level{vector.AVX2}
	avx512 = level{vector.AVX512}
	bf16   = level{vector.Level{Name: "BF16", Lanes: 16}} // AVX-512 with VDPBF16PS
)

func (l level) vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = l.Vec()
	}
	return v
}

func main() {
	flag.Parse()
	ConstraintExpr("amd64")
	for _, l := range []level{avx2, avx512} {
		most := 8
		if l.Lanes == 8 {
			most = 4 // registers
		}
		for rows := 1; rows <= most; rows *= 2 {
			dotF32(l, wideF32(), rows)
		}
		for _, d := range []decoder{bf16ToF32(l), int8ToF32(), nibblesToF32(l, false), nibblesToF32(l, true)} {
			dotF32(l, d, 1)
			unpack(l, d)
		}
		sums(l)
		widen(l, "F16")
		widen(l, "BF16")
	}
	for rows := 1; rows <= 8; rows *= 2 {
		dotBF16(wideBF16(), rows)
	}
	dotBF16(checkedBF16(), 1)
	for _, d := range []decoder{int8ToBF16(), nibblesToBF16(false), nibblesToBF16(true)} {
		dotBF16(d, 1)
		unpack(bf16, d)
	}
	subnormal()
	for _, l := range []level{avx2, avx512} {
		narrow(l)
		vectorUnit(l)
	}
	pause()
	Generate()
	encodeBF16(flag.Lookup("out").Value.String())
}

// widen converts 16 numbers at a time to F32, exactly.
func widen(l level, kind string) {
	vector.Kernel("widen"+kind+l.Name, "func(dst *float32, src *byte, n int)",
		fmt.Sprintf("converts n times 16 %s numbers to F32, exactly.", kind))
	dst, src, n := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("n"), GP64())
	Label("loop")
	PREFETCHT0(Mem{Base: src, Disp: 2048}) // scales of panels to come
	for i := 0; i < 16; i += l.Lanes {
		v, from := l.Vec(), Mem{Base: src, Disp: 2 * i}
		if kind == "F16" {
			VCVTPH2PS(from, v)
		} else {
			VPMOVZXWD(from, v)
			VPSLLD(Imm(16), v, v)
		}
		VMOVUPS(v, Mem{Base: dst, Disp: 4 * i})
	}
	ADDQ(U8(32), src)
	ADDQ(U8(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// narrow rounds to BF16, to nearest even; a NaN stays one.
func narrow(l level) {
	vector.Kernel("narrowBF16"+l.Name, "func(dst *byte, stride int, src *float32, n int)",
		"rounds n rows of 16 numbers, packed, to BF16 rows that lie stride bytes apart.")
	dst, stride := Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	src, n := Load(Param("src"), GP64()), Load(Param("n"), GP64())
	half, one, quiet := l.Constant(0x7fff), l.Constant(1), l.Constant(0x40)
	Label("loop")
	var v []reg.VecVirtual
	for i := 0; i < 16; i += l.Lanes {
		x, t := l.Vec(), l.Vec()
		VMOVUPS(Mem{Base: src, Disp: 4 * i}, x)
		v = append(v, l.roundBF16(x, t, half, one, quiet))
	}
	l.StoreWords(v, Mem{Base: dst}, VPACKUSDW)
	ADDQ(U8(64), src)
	ADDQ(stride, dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// roundBF16 returns x rounded to BF16 in the low half of each dword.
func (l level) roundBF16(x, t, half, one, quiet reg.VecVirtual) reg.VecVirtual {
	out := l.Vec()
	VPSRLD(Imm(16), x, out)
	if l.Lanes == 16 {
		k := K()
		VCMPPS(Imm(3), x, x, k) // NaN
		VPANDD(one, out, t)
		VPADDD(half, t, t)
		VPADDD(x, t, t)
		VPORD(quiet, out, out)
		nan := l.Vec()
		VMOVDQA32(out, nan)
		VPSRLD(Imm(16), t, out)
		VMOVDQA32(nan, k, out)
		return out
	}
	VPAND(one, out, t)
	VPADDD(half, t, t)
	VPADDD(x, t, t)
	VPSRLD(Imm(16), t, t)
	VPOR(quiet, out, out)
	nan := l.Vec()
	VCMPPS(Imm(3), x, x, nan)
	VPBLENDVB(nan, out, t, out)
	return out
}

// sums adds up groups of BF16 numbers.
func sums(l level) {
	vector.Kernel("sums"+l.Name, "func(dst *float32, a *byte, groups int, steps int)",
		"writes the sums of groups of steps times 16 BF16 numbers.")
	dst, a := Load(Param("dst"), GP64()), Load(Param("a"), GP64())
	groups, steps := Load(Param("groups"), GP64()), GP64()
	sum := l.Vec()
	Label("group")
	l.Zero(sum)
	Load(Param("steps"), steps)
	Label("step")
	for i := 0; i < 16; i += l.Lanes {
		v := l.Vec()
		VPMOVZXWD(Mem{Base: a, Disp: 2 * i}, v)
		VPSLLD(Imm(16), v, v)
		VADDPS(v, sum, sum)
	}
	ADDQ(U8(32), a)
	DECQ(steps)
	JNZ(LabelRef("step"))
	VMOVSS(l.total(sum), Mem{Base: dst})
	ADDQ(U8(4), dst)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// total adds the lanes up, halves onto halves.
func (l level) total(v reg.VecVirtual) reg.VecVirtual {
	y := v
	if l.Lanes == 16 {
		y = YMM()
		VEXTRACTF64X4(Imm(1), v, y)
		VADDPS(v.AsY(), y, y)
	}
	x, t := XMM(), XMM()
	VEXTRACTF128(Imm(1), y, x)
	VADDPS(y.AsX(), x, x)
	VMOVHLPS(x, x, t)
	VADDPS(t, x, x)
	VMOVSHDUP(x, t)
	VADDSS(t, x, x)
	return x
}

// subnormals keeps the least of BF16 numbers' magnitudes, as words less 1, so
// that zero is the greatest.
type subnormals struct{ two, least reg.VecVirtual }

func newSubnormals() *subnormals {
	return &subnormals{bf16.Constant(0x00020002), bf16.Constant(0xffffffff)}
}

func (s *subnormals) look(z reg.VecVirtual) {
	v := ZMM()
	VPADDW(z, z, v) // drops the sign
	VPSUBW(s.two, v, v)
	VPMINUW(v, s.least, s.least)
}

// store makes the function return whether there were any.
func (s *subnormals) store() {
	k, out := K(), GP32()
	VPCMPUW(Imm(1), bf16.Constant(0x00fe00fe), s.least, k)
	KMOVD(k, out)
	Store(out, ReturnIndex(0))
}

// subnormal looks for BF16 numbers that VDPBF16PS takes for zero.
func subnormal() {
	vector.Kernel("subnormalAVX512", "func(p *byte, rows int, stride int, lines int) uint32",
		"reports, by a number other than 0, whether rows of lines of 64 bytes hold a subnormal BF16.")
	p, rows := Load(Param("p"), GP64()), Load(Param("rows"), GP64())
	stride, lines := Load(Param("stride"), GP64()), Load(Param("lines"), GP64())
	check := newSubnormals()
	at, left := GP64(), GP64()
	Label("row")
	MOVQ(p, at)
	MOVQ(lines, left)
	Label("line")
	check.look(bf16.Load(Mem{Base: at}))
	ADDQ(U8(64), at)
	DECQ(left)
	JNZ(LabelRef("line"))
	ADDQ(stride, p)
	DECQ(rows)
	JNZ(LabelRef("row"))
	check.store()
	VZEROUPPER()
	RET()
}

// pause is for loops that wait.
func pause() {
	vector.Kernel("pause", "func()", "tells the CPU that a loop waits.")
	PAUSE()
	PAUSE()
	RET()
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

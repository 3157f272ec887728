// Package kern computes with the vector instructions of the CPU: it multiplies
// rows by weight panels (docs/isa.md §5) within the bounds of §1, and gives the
// exact results of §3. It knows neither instructions nor tiles. asm_amd64.s is
// written by internal/kernelgen (make kernels).
package kern

import "unsafe"

// Code is how a panel holds its weights.
type Code uint8

// The codes, as docs/isa.md §5 lays them out.
const (
	BF16 Code = iota
	INT8
	INT4
	UINT4
	numCodes
)

// Rows is the outputs of a panel.
const Rows = 16

const (
	lineBytes  = 64 // a dword for each output
	stepInputs = 16 // of one turn of a kernel's inner loop
	// chunkBytes of operands are unpacked at a time, so that they stay in the
	// first cache while all rows are multiplied with them.
	chunkBytes = 32 << 10
)

// lineInputs is how many inputs a line of a panel holds.
var lineInputs = [numCodes]int{BF16: 2, INT8: 4, INT4: 8, UINT4: 8}

type (
	dot    func(acc *float32, a *byte, lda int, codes *byte, scales *float32, pitch, groups, blocks, steps int)
	unpack func(dst, codes *byte, lines int)
	widen  func(dst *float32, src *byte, n int)
)

// Set is the kernels for one set of instructions. All of them take the
// products of a row in an order that depends on the panel alone, so a row's
// bits are the same whichever rows stand beside it.
type Set struct {
	Name string

	lanes     int              // outputs of a call
	wide      []dot            // over operands, for 1, 2, 4, .. rows
	packed    [numCodes]dot    // over codes, for one row
	unpack    [numCodes]unpack // codes to operands; nil where they are the same
	sums      func(dst *float32, a *byte, groups, steps int)
	widenF16  widen
	widenBF16 widen
	narrow    func(dst *byte, stride int, src *float32, n int)
	vector    *vectorKernels

	// A set that multiplies BF16 numbers takes subnormal ones for zero. It
	// tells where they are, and has another set for them.
	subnormal func(p *byte, rows, stride, lines int) uint32
	checked   func(acc *float32, a *byte, lda int, codes *byte, scales *float32, pitch, groups, blocks, steps int) uint32
	f32       *Set
}

// Panel is 16 outputs of a weight matrix.
type Panel struct {
	Code    Code
	Inputs  int // a multiple of 32
	Group   int // inputs a group: 16, 32, 64, 128 or 256, which divides Inputs, or Inputs
	Codes   []byte
	Scales  []float32 // [groups, 16]; nil where weights have none
	Offsets []float32 // [OffsetRows(groups), 16], zero from groups on; nil where weights have none
}

// OffsetRows returns groups rounded up to what kernels handle at a time.
func OffsetRows(groups int) int { return (groups + stepInputs - 1) / stepInputs * stepInputs }

// Input is A, prepared for a Set.
type Input struct {
	bf16   []byte
	stride int
	inputs int
	rare   bool      // a row has subnormal numbers
	f32    []float32 // [rows, inputs], for sets that multiply F32
	sums   []float32 // [rows, OffsetRows(groups)], where there are offsets
	pitch  int       // of sums
}

// Room is scratch memory of one worker.
type Room struct {
	operands []byte
	f32      []float32
}

func grow[T byte | float32](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	return (*s)[:n]
}

// Prepare sets in to rows of BF16 numbers that lie stride bytes apart. group
// is that of panels with offsets, 0 for others.
func (s *Set) Prepare(in *Input, bf16 []byte, stride, rows, inputs, group int) {
	if rows == 0 || inputs == 0 || inputs%32 != 0 || len(bf16) < (rows-1)*stride+2*inputs {
		panic("llima: internal error: kern: rows are too short")
	}
	in.bf16, in.stride, in.inputs, in.rare = bf16, stride, inputs, false
	if s.subnormal != nil {
		in.rare = s.subnormal(&bf16[0], rows, stride, inputs*2/lineBytes) != 0
	} else {
		in.f32 = s.widenRows(&in.f32, bf16, stride, rows, inputs)
	}
	if group == 0 {
		in.sums = in.sums[:0]
		return
	}
	in.pitch = OffsetRows(inputs / group)
	in.sums = grow(&in.sums, rows*in.pitch)
	clear(in.sums)
	for m := range rows {
		s.sums(&in.sums[m*in.pitch], &bf16[m*stride], inputs/group, group/stepInputs)
	}
}

func (s *Set) widenRows(room *[]float32, bf16 []byte, stride, rows, inputs int) []float32 {
	out := grow(room, rows*inputs)
	for m := range rows {
		s.widenBF16(&out[m*inputs], &bf16[m*stride], inputs/16)
	}
	return out
}

// Dot adds to acc [rows, 16] the products of rows of A, from the first on,
// with a panel.
func (s *Set) Dot(acc [][Rows]float32, in *Input, p *Panel, room *Room) {
	groups := p.Inputs / p.Group
	if p.Inputs != in.inputs || p.Inputs%p.Group != 0 || p.Group != p.Inputs && (p.Group < 16 || p.Group > 256 || p.Group&(p.Group-1) != 0) ||
		len(p.Codes) < p.Inputs/lineInputs[p.Code]*lineBytes || p.Scales != nil && len(p.Scales) < groups*Rows ||
		len(in.bf16) < (len(acc)-1)*in.stride+2*in.inputs {
		panic("llima: internal error: kern: operands are too short")
	}
	switch {
	case s.subnormal == nil:
		s.dot(acc, f32Rows(in.f32), 4*p.Inputs, p, room)
	case p.Code == BF16 && len(acc) == 1 && !in.rare:
		s.dotChecked(acc, in, p, room)
	case p.Code == BF16 && s.subnormal(&p.Codes[0], 1, 0, p.Inputs/2) != 0:
		s.f32.dotWidened(acc, in, 0, p, room)
	case in.rare:
		for m := range acc {
			row := in.bf16[m*in.stride:]
			if s.subnormal(&row[0], 1, 0, p.Inputs*2/lineBytes) != 0 {
				s.f32.dotWidened(acc[m:m+1], in, m, p, room)
			} else {
				s.dot(acc[m:m+1], &row[0], in.stride, p, room)
			}
		}
	default:
		s.dot(acc, &in.bf16[0], in.stride, p, room)
	}
	if p.Offsets != nil {
		s.addOffsets(acc, in, p)
	}
}

// dotChecked is Dot for one row with BF16 codes, which it reads once: it looks
// for subnormal ones on the way, and begins again where there are.
func (s *Set) dotChecked(acc [][Rows]float32, in *Input, p *Panel, room *Room) {
	start, sh := acc[0], shapeOf(p.Inputs, p)
	if s.checked(&acc[0][0], &in.bf16[0], in.stride, &p.Codes[0], &ones[0], 0, sh.groups, sh.blocks, sh.steps) != 0 {
		acc[0] = start
		s.f32.dotWidened(acc, in, 0, p, room)
	}
}

// dotWidened is dot for BF16 rows from m on, by a set that multiplies F32.
func (s *Set) dotWidened(acc [][Rows]float32, in *Input, m int, p *Panel, room *Room) {
	a := s.widenRows(&room.f32, in.bf16[m*in.stride:], in.stride, len(acc), in.inputs)
	s.dot(acc, f32Rows(a), 4*in.inputs, p, room)
}

// ones are the scales of weights that have none.
var ones = [Rows]float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}

// dot multiplies codes. One row takes them as they are; more share what is
// unpacked once.
func (s *Set) dot(acc [][Rows]float32, a *byte, lda int, p *Panel, room *Room) {
	inputSize, operandBytes := 2, 2*Rows // bytes of an input of A, and of 16 weights
	if s.subnormal == nil {
		inputSize, operandBytes = 4, 4*Rows
	}
	chunk := p.Inputs
	if len(acc) > 1 {
		chunk = chunkBytes / operandBytes
		chunk -= chunk % min(p.Group, chunk)
	}
	for k := 0; k < p.Inputs; k += chunk {
		n := min(chunk, p.Inputs-k)
		codes := p.Codes[k/lineInputs[p.Code]*lineBytes:]
		scales, pitch := &ones[0], 0
		if p.Scales != nil {
			scales, pitch = &p.Scales[k/p.Group*Rows], 4*Rows
		}
		sh := shapeOf(n, p)
		for half := 0; half < Rows; half += s.lanes {
			from, c := s.packed[p.Code], &codes[4*half]
			if len(acc) > 1 && s.unpack[p.Code] != nil {
				operands := grow(&room.operands, n*operandBytes)
				s.unpack[p.Code](&operands[0], c, n/lineInputs[p.Code])
				c, from = &operands[0], nil
			}
			s.rows(acc, half, addByte(a, k*inputSize), lda, c, from, addF32(scales, half), pitch, sh)
		}
	}
}

// shape is how often the loops of a kernel turn.
type shape struct{ groups, blocks, steps int }

// shapeOf returns the loops over inputs of a panel, which begin at a multiple
// of 128. Blocks are 128 inputs at most, which keeps the bound of docs/isa.md §1
// for any numbers: each of a block's two sums then adds 64 products.
func shapeOf(inputs int, p *Panel) shape {
	group := p.Group
	if p.Scales == nil {
		group = p.Inputs
	}
	block := min(group&-group, 128) // powers of two
	group = min(group, inputs)
	return shape{inputs / group, group / block, block / stepInputs}
}

// rows multiplies all rows of A with lanes outputs. packed is the kernel for
// one row where c points to codes; c points to operands where it is nil.
func (s *Set) rows(acc [][Rows]float32, half int, a *byte, lda int, c *byte, packed dot, scales *float32, pitch int, sh shape) {
	for len(acc) > 0 {
		kernel := len(s.wide) - 1
		for 1<<kernel > len(acc) {
			kernel--
		}
		f := s.wide[kernel]
		if packed != nil && len(acc) == 1 {
			f = packed
		}
		f(&acc[0][half], a, lda, c, scales, pitch, sh.groups, sh.blocks, sh.steps)
		n := 1 << kernel
		if acc = acc[n:]; len(acc) > 0 {
			a = addByte(a, n*lda)
		}
	}
}

// addOffsets adds the products of the groups' sums with their offsets, which
// are F32 whatever the set multiplies.
func (s *Set) addOffsets(acc [][Rows]float32, in *Input, p *Panel) {
	if len(p.Offsets) < in.pitch*Rows || len(in.sums) < len(acc)*in.pitch {
		panic("llima: internal error: kern: offsets are too short")
	}
	if s.f32 != nil {
		s = s.f32
	}
	offsets := f32Rows(p.Offsets)
	for half := 0; half < Rows; half += s.lanes {
		s.rows(acc, half, f32Rows(in.sums), 4*in.pitch, addByte(offsets, 4*half), nil, &ones[0], 0,
			shape{1, in.pitch / stepInputs, 1})
	}
}

// NarrowRows rounds rows of 16 to BF16, to nearest even, into rows that lie
// stride bytes apart.
func (s *Set) NarrowRows(dst []byte, stride int, src [][Rows]float32) {
	if len(dst) < (len(src)-1)*stride+2*Rows {
		panic("llima: internal error: kern: rows are too short")
	}
	s.narrow(&dst[0], stride, &src[0][0], len(src))
}

// f32Rows, addByte and addF32 give kernels their operands; what lies there has
// been checked.
func f32Rows(v []float32) *byte { return (*byte)(unsafe.Pointer(&v[0])) }

func addByte(p *byte, n int) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(p), n)) }

func addF32(p *float32, n int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n)) }

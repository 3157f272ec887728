package emu

import (
	"errors"
	"fmt"

	"github.com/llima-build/llima/modalix/isa"
)

// located adds the place of an instruction to an error of package isa.
func located(err error, quad, index int) error {
	var e *isa.Error
	if !errors.As(err, &e) {
		return err
	}
	at := *e
	at.Quad, at.Offset = quad, int64(index)*isa.WordSize
	return &at
}

// trap is an instruction's error, without its place.
func trap(in *isa.Inst, format string, args ...any) error {
	return &isa.Error{Quad: -1, Op: in.Op, Text: fmt.Sprintf(format, args...)}
}

// checkProgram applies every static rule of §8 beyond single words.
func checkProgram(p *Program) error {
	bars := make([]int, len(p.code))
	var kv kvUse
	for q := range p.code {
		c := checker{program: p, quad: q, kv: &kv, foot: footprint{quad: q}}
		insts := p.code[q].insts
		for i := range insts {
			if err := c.inst(&insts[i]); err != nil {
				return located(err, q, i)
			}
			if insts[i].Op == isa.END && i+1 < len(insts) {
				return located(trap(&insts[i], "end is not last"), q, i)
			}
		}
		if n := len(insts); n == 0 || insts[n-1].Op != isa.END {
			return &isa.Error{Quad: q, Offset: int64(n) * isa.WordSize, Text: "end is missing"}
		}
		bars[q] = int(c.bars)
		if bars[q] != bars[0] {
			return fileError("quad %d has %d bars, quad 0 has %d", q, bars[q], bars[0])
		}
	}
	return checkRaces(p)
}

// kvUse remembers how a program uses the KV segment.
type kvUse struct{ loads, appends bool }

// checker holds what the checks of one quad carry from one instruction to
// the next.
type checker struct {
	program *Program
	quad    int
	kv      *kvUse
	foot    footprint
	bars    uint32
	tokens  [isa.NumQueues][isa.NumQueues]int // [from][to]
	tiles   [isa.NumTiles]struct {
		loaded bool
		np     int64
		inputs int64
	}
}

func (c *checker) inst(in *isa.Inst) error {
	if err := c.token(in); err != nil {
		return err
	}
	if err := c.segment(in); err != nil {
		return err
	}
	inputs := int64(0)
	var err error
	switch in.Op { //nolint:exhaustive // the rest are vector instructions
	case isa.LD, isa.LDG, isa.LDP, isa.ST, isa.STS, isa.PUT:
		err = c.transfer(in)
	case isa.LDW:
		err = c.tileLoad(in)
	case isa.STK:
		err = checkAppend(in)
	case isa.MM:
		inputs, err = c.matrix(in)
	case isa.BAR:
		if in.K != c.bars {
			return trap(in, "bar %d, want %d", in.K, c.bars)
		}
		c.bars++
	case isa.END:
		return c.left(in)
	default:
		err = checkVector(in)
	}
	if err != nil {
		return err
	}
	c.foot.of(in, inputs, c.program.SegmentSize(in.Seg))
	return c.ranges(in)
}

// token replays the counters in program order.
func (c *checker) token(in *isa.Inst) error {
	q := in.Op.Index()
	for from := range isa.NumQueues {
		if in.Pop>>from&1 == 0 {
			continue
		}
		if c.tokens[from][q] == 0 {
			return trap(in, "deadlock: no token from %v", isa.Queue(1<<from))
		}
		c.tokens[from][q]--
	}
	for to := range isa.NumQueues {
		if in.Push>>to&1 == 0 {
			continue
		}
		if c.tokens[q][to] == isa.MaxTokens {
			return trap(in, "token overflow: %v to %v", isa.Queue(1<<q), isa.Queue(1<<to))
		}
		c.tokens[q][to]++
	}
	return nil
}

// left demands that END finds all counters at zero.
func (c *checker) left(in *isa.Inst) error {
	for from := range isa.NumQueues {
		for to := range isa.NumQueues {
			if n := c.tokens[from][to]; n > 0 {
				plural := "s"
				if n == 1 {
					plural = ""
				}
				return trap(in, "%d token%s left: %v to %v", n, plural, isa.Queue(1<<from), isa.Queue(1<<to))
			}
		}
	}
	return nil
}

// segment checks the direction of DRAM accesses.
func (c *checker) segment(in *isa.Inst) error {
	switch in.Op { //nolint:exhaustive // the rest do not touch DRAM
	case isa.LD, isa.LDG, isa.LDP:
		if !in.Seg.Readable() {
			return trap(in, "%v is write-only", in.Seg)
		}
		c.kv.loads = c.kv.loads || in.Seg == isa.KV
	case isa.LDW:
		if in.Seg != isa.Weights && in.Seg != isa.KV && in.Seg != isa.Lora {
			return trap(in, "ldw from %v", in.Seg)
		}
		c.kv.loads = c.kv.loads || in.Seg == isa.KV
	case isa.ST, isa.STS:
		if !in.Seg.Writable() {
			return trap(in, "%v is read-only", in.Seg)
		}
	case isa.STK:
		if in.Seg != isa.KV {
			return trap(in, "stk to %v", in.Seg)
		}
		c.kv.appends = true
	default:
	}
	if c.kv.loads && c.kv.appends {
		return trap(in, "stk in a program that loads kv")
	}
	return nil
}

// stride demands that rows do not overlap.
func stride(in *isa.Inst, rows, stride, row int64) error {
	if rows > 1 && stride < row {
		return trap(in, "stride %d is less than row %d", stride, row)
	}
	return nil
}

// positive demands that a count is not zero.
func positive(in *isa.Inst, counts ...count) error {
	for _, n := range counts {
		if n.value == 0 {
			return trap(in, "%s = 0", n.name)
		}
	}
	return nil
}

type count struct {
	name  string
	value uint32
}

func (c *checker) transfer(in *isa.Inst) error {
	own, all := uint32(1)<<c.quad, uint32(1)<<len(c.program.code)-1
	if in.Quads&^all != 0 || in.Op != isa.PUT && in.Quads&own != 0 || in.Op == isa.PUT && in.Quads == 0 {
		return trap(in, "quad mask 0x%x is invalid", in.Quads)
	}
	if in.Op == isa.LDP {
		return checkPatches(in)
	}
	if err := positive(in, count{"rows", in.Rows}, count{"len", in.Len}); err != nil {
		return err
	}
	rows, length := int64(in.Rows), int64(in.Len)
	if err := stride(in, rows, int64(in.SStr), length); err != nil {
		return err
	}
	if in.Op == isa.ST || in.Op == isa.STS || in.Op == isa.PUT {
		return stride(in, rows, int64(in.DStr), length)
	}
	return nil
}

func checkPatches(in *isa.Inst) error {
	if err := positive(in, count{"n", in.N}, count{"wp", in.WP}, count{"p", in.P}, count{"c", in.C}); err != nil {
		return err
	}
	row, patch := int64(in.WP)*int64(in.P)*int64(in.C)*2, int64(in.P)*int64(in.P)*int64(in.C)*2
	if int64(in.RowB) < row {
		return trap(in, "stride %d is less than row %d", in.RowB, row)
	}
	if int64(in.SStr) < patch {
		return trap(in, "stride %d is less than row %d", in.SStr, patch)
	}
	return nil
}

func (c *checker) tileLoad(in *isa.Inst) error {
	if in.Tile >= isa.NumTiles {
		return trap(in, "tile %d is unknown", in.Tile)
	}
	if err := positive(in, count{"np", in.NP}, count{"kb", in.KB}); err != nil {
		return err
	}
	codes, scales, offsets := tileSizes(in)
	if need := int64(in.NP) * (codes + scales + offsets); need > c.program.tile {
		return trap(in, "tile needs %d bytes, has %d", need, c.program.tile)
	}
	t := &c.tiles[in.Tile]
	t.loaded, t.np, t.inputs = true, int64(in.NP), int64(in.KB)*32
	return nil
}

func checkAppend(in *isa.Inst) error {
	if err := positive(in, count{"m", in.M}, count{"d", in.D}, count{"h", in.H}); err != nil {
		return err
	}
	if in.D%32 != 0 {
		return trap(in, "d = %d is not a multiple of 32", in.D)
	}
	if capacity(in) == 0 {
		return trap(in, "pitches hold no token")
	}
	if err := stride(in, int64(in.H), int64(in.HPitch), headBytes(in)); err != nil {
		return err
	}
	return stride(in, int64(in.M), int64(in.LdX), int64(in.H)*int64(in.D)*2)
}

// capacity returns the number of positions that STK's pitches hold.
func capacity(in *isa.Inst) int64 {
	if in.Mode == isa.StkV {
		return int64(in.PPitch) / 64 * 2
	}
	return int64(in.HPitch) / (32 * int64(in.D)) * 16
}

func (c *checker) matrix(in *isa.Inst) (inputs int64, err error) {
	if in.Tile >= isa.NumTiles {
		return 0, trap(in, "tile %d is unknown", in.Tile)
	}
	if err := positive(in, count{"m", in.M}, count{"np", in.NP}); err != nil {
		return 0, err
	}
	t := &c.tiles[in.Tile]
	switch {
	case in.M > isa.MaxMM:
		return 0, trap(in, "m = %d exceeds %d", in.M, isa.MaxMM)
	case !t.loaded:
		return 0, trap(in, "tile %d was never loaded", in.Tile)
	case int64(in.P0)+int64(in.NP) > t.np:
		return 0, trap(in, "panels [%d,%d) of %d", in.P0, in.P0+in.NP, t.np)
	case in.Acc && in.OutBF16:
		return 0, trap(in, "acc needs an f32 C")
	}
	row := int64(in.NP) * isa.PanelRows * 4
	if in.OutBF16 {
		row /= 2
	}
	if err := stride(in, int64(in.M), int64(in.LdA), t.inputs*2); err != nil {
		return 0, err
	}
	return t.inputs, stride(in, int64(in.M), int64(in.LdC), row)
}

// checkVector checks counts and strides of a vector instruction.
func checkVector(in *isa.Inst) error {
	if err := positive(in, count{"m", in.M}, count{"n", in.N}); err != nil {
		return err
	}
	if err := checkAux(in); err != nil {
		return err
	}
	var f footprint
	var room [4]access
	f.list = room[:0]
	f.of(in, 0, 0)
	for i := range f.list {
		a := &f.list[i]
		if err := stride(in, a.rows, a.stride, a.length); err != nil {
			return err
		}
	}
	return nil
}

func checkAux(in *isa.Inst) error {
	aux := count{"aux", in.Aux}
	switch in.Op { //nolint:exhaustive // the rest have no count beyond M and N
	case isa.GLU:
		if in.N%16 != 0 {
			return trap(in, "n = %d is not a multiple of 16", in.N)
		}
	case isa.ROPE:
		switch {
		case in.Imm > in.N:
			return trap(in, "rotated %d exceeds head %d", in.Imm, in.N)
		case in.Imm == 0 || in.Imm%2 != 0:
			return trap(in, "rotated %d is not a positive even number", in.Imm)
		}
		return positive(in, aux)
	case isa.TOPK:
		switch {
		case in.Aux > isa.MaxTopk:
			return trap(in, "aux = %d exceeds %d", in.Aux, isa.MaxTopk)
		case in.Mode == isa.TopkFresh && in.Aux > in.N:
			return trap(in, "aux = %d exceeds n = %d", in.Aux, in.N)
		}
		return positive(in, aux)
	case isa.SOFTMAX, isa.MASK, isa.CONV, isa.GATH:
		return positive(in, aux)
	default:
	}
	return nil
}

// ranges checks that all accesses are inside, and that no write overlaps
// another operand.
func (c *checker) ranges(in *isa.Inst) error {
	for i := range c.foot.list {
		a := &c.foot.list[i]
		switch {
		case a.space >= spaceDRAM:
			if size := c.program.segments[a.space-spaceDRAM].size; a.end() > size {
				return trap(in, "%s [0x%x,0x%x) is outside the segment (%d)", a.name, a.base, a.end(), size)
			}
		case a.space < spaceTile:
			if a.end() > c.program.sBytes {
				return trap(in, "%s [0x%x,0x%x) is outside S (%d)", a.name, a.base, a.end(), c.program.sBytes)
			}
		}
	}
	for i := range c.foot.list {
		for j := range c.foot.list {
			w, o := &c.foot.list[i], &c.foot.list[j]
			if i == j || !w.write || o.write && j < i || !overlaps(w, o) {
				continue
			}
			if w.name == "D" && (o.name == "X" || o.name == "D") && same(w, o) {
				continue
			}
			return trap(in, "%s [0x%x,0x%x) overlaps %s [0x%x,0x%x)", w.name, w.base, w.end(), o.name, o.base, o.end())
		}
	}
	return nil
}

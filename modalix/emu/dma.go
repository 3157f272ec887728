package emu

import (
	"encoding/binary"

	"github.com/llima-build/llima/modalix/isa"
)

// rowAt returns row i of a strided operand.
func rowAt(b []byte, base, stride, i, length uint32) []byte {
	at := int(base) + int(i)*int(stride)
	return b[at : at+int(length)]
}

// others calls f with S of every quad in the mask.
func (m *Machine) others(mask uint32, f func(s []byte)) {
	for q := range m.quads {
		if mask>>q&1 != 0 {
			f(m.quads[q].s)
		}
	}
}

// transfer is LD and ST.
func (m *Machine) transfer(q *quad, in *isa.Inst) {
	seg := m.segments[in.Seg]
	for i := range in.Rows {
		s := rowAt(q.s, in.S, in.SStr, i, in.Len)
		d := rowAt(seg, in.Off, in.DStr, i, in.Len)
		if in.Op == isa.ST {
			copy(d, s)
			continue
		}
		copy(s, d)
	}
	m.spread(q, in)
}

// spread copies what a load wrote to the quads of its mask.
func (m *Machine) spread(q *quad, in *isa.Inst) {
	if in.Quads == 0 {
		return
	}
	m.others(in.Quads, func(s []byte) {
		for i := range in.Rows {
			copy(rowAt(s, in.S, in.SStr, i, in.Len), rowAt(q.s, in.S, in.SStr, i, in.Len))
		}
	})
}

// transferIndexed is LDG and STS.
func (m *Machine) transferIndexed(q *quad, in *isa.Inst) error {
	seg := m.segments[in.Seg]
	rows := int64(1) << 31 // that an index may name
	if in.DStr > 0 {
		rows = (int64(len(seg))-int64(in.Off)-int64(in.Len))/int64(in.DStr) + 1
	}
	for i, t := range view[int32](q.s, int(in.Idx), int(in.Rows)) {
		if t < -1 || int64(t) >= rows {
			return trap(in, "index %d at row %d is outside %v (%d)", t, i, in.Seg, rows)
		}
		s := rowAt(q.s, in.S, in.SStr, uint32(i), in.Len)
		if t < 0 {
			if in.Op == isa.LDG {
				clear(s)
			}
			continue
		}
		at := int64(in.Off) + int64(t)*int64(in.DStr)
		d := seg[at : at+int64(in.Len)]
		if in.Op == isa.STS {
			copy(d, s)
			continue
		}
		copy(s, d)
	}
	m.spread(q, in)
	return nil
}

// loadPatches is LDP: the pixels of a patch in a row, the rest of it zero.
func (m *Machine) loadPatches(q *quad, in *isa.Inst) {
	seg := m.segments[in.Seg]
	row := in.P * in.C * 2
	for i := range in.N {
		p := in.First + i
		s := rowAt(q.s, in.S, in.SStr, i, in.SStr)
		clear(s)
		for y := range in.P {
			at := int64(in.Off) + int64(p/in.WP*in.P+y)*int64(in.RowB) + int64(p%in.WP)*int64(row)
			copy(s[y*row:(y+1)*row], seg[at:])
		}
	}
}

// put copies rows to other quads.
func (m *Machine) put(q *quad, in *isa.Inst) {
	m.others(in.Quads, func(s []byte) {
		for i := range in.Rows {
			copy(rowAt(s, in.D, in.DStr, i, in.Len), rowAt(q.s, in.S, in.SStr, i, in.Len))
		}
	})
}

// appendKV is STK. With mode K, 16 tokens are the rows of a panel and the
// head's dimensions its inputs; with mode V, dimensions are rows and tokens
// inputs.
func (m *Machine) appendKV(q *quad, in *isa.Inst) error {
	seg := m.segments[in.Seg]
	limit := capacity(in)
	heads, dims := int(in.H), int(in.D)
	for i, t := range view[int32](q.s, int(in.Idx), int(in.M)) {
		if t < 0 {
			continue
		}
		if int64(t) >= limit {
			return trap(in, "index %d at row %d is outside %v (%d)", t, i, in.Seg, limit)
		}
		x := view[uint16](q.s, int(in.X)+i*int(in.LdX), heads*dims)
		for h := range heads {
			d := seg[int(in.Off)+h*int(in.HPitch):]
			appendHead(d, x[h*dims:(h+1)*dims], in, int(t))
		}
	}
	return nil
}

func appendHead(d []byte, x []uint16, in *isa.Inst, t int) {
	if in.Mode == isa.StkK {
		d = d[t/16*32*len(x)+t%16*4:]
		for e := 0; e < len(x); e += 2 {
			binary.LittleEndian.PutUint32(d[e/2*64:], uint32(x[e])|uint32(x[e+1])<<16)
		}
		return
	}
	d = d[t/2*64+t%2*2:]
	for e, v := range x {
		binary.LittleEndian.PutUint16(d[e/16*int(in.PPitch)+e%16*4:], v)
	}
}

// tile is what LDW leaves: views into the mapped file, not copies.
type tile struct {
	codes, scales, offsets   []byte
	cPitch, sPitch, oPitch   int // bytes from panel to panel
	inputs                   int // K
	group                    int // inputs a group
	format                   isa.Format
	scaleEntry, offsetsEntry int // bytes of a group's 16 scales and offsets
}

func (m *Machine) loadTile(in *isa.Inst) tile {
	seg := m.segments[in.Seg]
	codes, scales, offsets := tileSizes(in)
	t := tile{
		inputs: int(in.KB) * 32, group: 32, format: in.Fmt, cPitch: int(in.CPitch),
		scaleEntry: isa.PanelRows * int(in.Fmt.Scale().Size()), offsetsEntry: isa.PanelRows * int(in.Fmt.Offset().Size()),
	}
	if in.Fmt.Code() != isa.CodeBF16 {
		t.group = t.inputs
		if in.GLog != isa.GroupChannel {
			t.group = 1 << in.GLog
		}
	}
	t.sPitch, t.oPitch = int(in.GPitch)*t.scaleEntry, int(in.GPitch)*t.offsetsEntry
	last := int(in.NP) - 1
	t.codes = stream(seg, in.Codes, last*t.cPitch+int(codes))
	if scales > 0 {
		t.scales = stream(seg, in.Scales, last*t.sPitch+int(scales))
	}
	if offsets > 0 {
		t.offsets = stream(seg, in.Offs, last*t.oPitch+int(offsets))
	}
	return t
}

func stream(seg []byte, at uint32, n int) []byte { return seg[int(at) : int(at)+n] }

package lower

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/modalix/ir"
)

// Panel geometry of docs/isa.md §4.
const (
	panelRows = 16 // outputs in a panel
	lineBytes = 64
	kUnit     = 32 // inputs are handled in blocks of 32
	alignment = 64 // streams of .weights and host buffers
)

// matrix is the weight operand of one linear: its panels in the order in
// which they lie in segment WEIGHTS, codes first, then scales, then offsets.
type matrix struct {
	k, bits, group         int // k with its padding; group 0: one scale an output
	unsigned               bool
	panels                 []panel
	codes, scales, offsets int64        // bytes in the segment
	scale, offset          tensor.DType // 0: none
	weights                []*ir.Weight
}

// panel is 16 outputs of one weight, the last ones of which may be zero.
type panel struct {
	weight *ir.Weight
	first  int // output of the stored matrix
	live   int // outputs that are there
}

// panelsOf lists the panels of a weight, each head's padded to whole units.
func panelsOf(w *ir.Weight) []panel {
	size, room := w.N, int(align(int64(w.N), panelRows))
	if w.HeadDim > 0 {
		size, room = w.HeadDim, w.Cols()/(w.N/w.HeadDim)
	}
	var out []panel
	for head := 0; head < w.N; head += size {
		for at := 0; at < room; at += panelRows {
			out = append(out, panel{w, w.First + head + min(at, size), max(0, min(panelRows, size-at))})
		}
	}
	return out
}

// newMatrix lays out the weights of a linear at offset bytes of the segment.
func newMatrix(n *ir.Node, offset int64) (*matrix, error) {
	w := n.Weights[0]
	m := &matrix{k: int(align(int64(w.K), kUnit)), bits: w.Bits, group: w.GroupSize, weights: n.Weights, codes: offset}
	if w.Bits != 16 {
		m.unsigned, m.scale, m.offset = w.Unsigned, w.ScaleType, w.OffsetType
	}
	if g := m.group; m.bits != 16 && g != 0 && (g < 16 || g > 256 || g&(g-1) != 0) {
		return nil, fmt.Errorf("weight %q: group size %d is not a power of two in [16,256]", w.Name, g)
	}
	if n.Interleave {
		other := panelsOf(n.Weights[1])
		for i, p := range panelsOf(w) {
			m.panels = append(m.panels, p, other[i])
		}
	} else {
		for i, part := range n.Weights {
			if part.Cols()%panelRows != 0 && i != len(n.Weights)-1 {
				return nil, fmt.Errorf("weight %q: %d outputs are not a multiple of %d", part.Name, part.Cols(), panelRows)
			}
			m.panels = append(m.panels, panelsOf(part)...)
		}
	}
	m.scales = align(m.codes+int64(len(m.panels))*int64(m.panelBytes(m.k)), alignment)
	m.offsets = align(m.scales+m.stream(m.scale), alignment)
	return m, nil
}

// entry is the bytes of the scales, or offsets, of one group of a panel.
func entry(dt tensor.DType) int {
	if dt == 0 {
		return 0
	}
	return panelRows * dt.Bytes()
}

// stream is the bytes of all scales or offsets.
func (m *matrix) stream(dt tensor.DType) int64 {
	return int64(len(m.panels)) * int64(m.groups(m.k)) * int64(entry(dt))
}

// panelBytes returns the bytes of the codes of one panel over k inputs.
func (m *matrix) panelBytes(k int) int { return panelRows * k * m.bits / 8 }

// groups returns how many scales an output has over k inputs.
func (m *matrix) groups(k int) int {
	switch {
	case m.bits == 16:
		return 0
	case m.group == 0:
		return 1
	}
	return (k + m.group - 1) / m.group
}

// end returns the offset behind the matrix.
func (m *matrix) end() int64 {
	return align(m.offsets+m.stream(m.offset), alignment)
}

func align(v, to int64) int64 { return (v + to - 1) / to * to }

// Source gives the bytes of a weight file by its location.
type Source func(location string) ([]byte, error)

// write streams the matrix in panel order, padded to end.
func (m *matrix) write(w io.Writer, data Source) error {
	files := make(map[*ir.Weight]rows, len(m.weights))
	for _, part := range m.weights {
		r, err := openRows(part, data)
		if err != nil {
			return fmt.Errorf("weight %q: %w", part.Name, err)
		}
		files[part] = r
	}
	out := make([]byte, m.panelBytes(m.k))
	written := m.codes
	for _, p := range m.panels {
		r := files[p.weight]
		switch m.bits {
		case 16:
			packBF16(out, r, p)
		case 8:
			packINT8(out, r, p)
		case 4:
			packINT4(out, r, p)
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
		written += int64(len(out))
	}
	for _, stream := range []struct {
		at int64
		dt tensor.DType
		of func(rows) []byte
	}{
		{m.scales, m.scale, func(r rows) []byte { return r.scales }},
		{m.offsets, m.offset, func(r rows) []byte { return r.offsets }},
	} {
		if err := pad(w, stream.at-written); err != nil {
			return err
		}
		written = stream.at
		out := make([]byte, m.groups(m.k)*entry(stream.dt))
		for _, p := range m.panels {
			if len(out) == 0 {
				break
			}
			r := files[p.weight]
			packScales(out, stream.of(r), r, p, stream.dt.Bytes())
			if _, err := w.Write(out); err != nil {
				return err
			}
			written += int64(len(out))
		}
	}
	return pad(w, m.end()-written)
}

func pad(w io.Writer, n int64) error {
	_, err := w.Write(make([]byte, n))
	return err
}

// rows is the bytes of a stored matrix, checked for length.
type rows struct {
	codes, scales, offsets []byte
	n, k, groups           int  // n outputs
	flip                   byte // of codes of 4 bits, to what a panel holds
	layout                 ir.Layout
}

func openRows(w *ir.Weight, data Source) (rows, error) {
	r := rows{n: max(w.N, w.Stored), k: w.K, layout: w.Layout}
	var err error
	need := (int64(r.n)*int64(w.K)*int64(w.Bits) + 7) / 8
	if r.codes, err = cut(w.Codes, need, data); err != nil {
		return r, err
	}
	if w.Bits == 16 {
		return r, nil
	}
	r.groups = 1
	if w.GroupSize > 0 {
		r.groups = (w.K + w.GroupSize - 1) / w.GroupSize
	}
	if !w.Unsigned {
		r.flip = 8 // two's complement to value plus 8
	}
	each := int64(r.groups) * int64(r.n)
	if r.scales, err = cut(w.Scales, each*int64(w.ScaleType.Bytes()), data); err != nil || w.OffsetType == 0 {
		return r, err
	}
	r.offsets, err = cut(w.Offsets, each*int64(w.OffsetType.Bytes()), data)
	return r, err
}

// cut returns need bytes of a range.
func cut(r ir.Range, need int64, data Source) ([]byte, error) {
	b := r.Inline
	if r.Location != "" {
		file, err := data(r.Location)
		if err != nil {
			return nil, err
		}
		if r.Offset < 0 || r.Length < 0 || r.Offset > int64(len(file)) || r.Length > int64(len(file))-r.Offset {
			return nil, fmt.Errorf("%s: bytes [%d,+%d) are outside the file (%d)", r.Location, r.Offset, r.Length, len(file))
		}
		b = file[r.Offset : r.Offset+r.Length]
	}
	if int64(len(b)) != need {
		return nil, fmt.Errorf("%s: offset %d: %d bytes, want %d", r.Location, r.Offset, len(b), need)
	}
	return b, nil
}

// packBF16: dword r of line j holds inputs 2j and 2j+1 of output r.
func packBF16(out []byte, src rows, p panel) {
	clear(out)
	live := p.live
	if src.layout == ir.NK {
		for r := range live {
			row := src.codes[(p.first+r)*src.k*2:][:src.k*2]
			for j := range src.k / 2 {
				copy(out[j*lineBytes+r*4:][:4], row[j*4:][:4])
			}
			if src.k%2 != 0 {
				copy(out[src.k/2*lineBytes+r*4:][:2], row[(src.k-1)*2:])
			}
		}
		return
	}
	for k := range src.k {
		row := src.codes[(k*src.n+p.first)*2:][:live*2]
		line := out[k/2*lineBytes+k%2*2:]
		for r := range live {
			line[r*4], line[r*4+1] = row[r*2], row[r*2+1]
		}
	}
}

// packINT8: dword r of line j holds inputs 4j to 4j+3 of output r.
func packINT8(out []byte, src rows, p panel) {
	clear(out)
	for k := range src.k {
		row := src.codes[k*src.n+p.first:][:p.live]
		line := out[k/4*lineBytes+k%4:]
		for r, c := range row {
			line[r*4] = c
		}
	}
}

// packINT4: dword r of line j holds inputs 8j to 8j+7 of output r, even ones
// in the low half, odd ones in the high half; a signed code is the value plus
// 8, and what is not there is 0 of either kind.
func packINT4(out []byte, src rows, p panel) {
	if src.n%2 == 0 && p.first%2 == 0 && p.live == panelRows && src.k%kUnit == 0 {
		packWholeINT4(out, src, p)
		return
	}
	for i := range out {
		out[i] = src.flip * 0x11
	}
	for k := range src.k {
		i := k % 8
		bit := 16*(i%2) + 4*(i/2)
		line := out[k/8*lineBytes+bit/8:]
		low := bit%8 == 0
		at := k*src.n + p.first
		for r := range p.live {
			c := src.codes[(at+r)/2] >> (4 * ((at + r) % 2)) & 15
			c ^= src.flip
			if low {
				line[r*4] = line[r*4]&0xf0 | c
			} else {
				line[r*4] = line[r*4]&0x0f | c<<4
			}
		}
	}
}

// packWholeINT4 packs a panel that is full and whose rows start at whole
// bytes: 8 bytes are the 16 outputs of one input.
func packWholeINT4(out []byte, src rows, p panel) {
	signs := uint64(src.flip) * 0x1111111111111111
	pitch := src.n / 2
	for j := range src.k / 8 {
		var in [8]uint64
		for i := range in {
			in[i] = binary.LittleEndian.Uint64(src.codes[(j*8+i)*pitch+p.first/2:]) ^ signs
		}
		line := out[j*lineBytes:][:lineBytes]
		for r := range panelRows {
			s := 4 * r
			low := in[0]>>s&15 | in[2]>>s&15<<4 | in[4]>>s&15<<8 | in[6]>>s&15<<12
			high := in[1]>>s&15 | in[3]>>s&15<<4 | in[5]>>s&15<<8 | in[7]>>s&15<<12
			binary.LittleEndian.PutUint32(line[r*4:], uint32(low|high<<16))
		}
	}
}

// packScales: [group][16] of scales or offsets, zero for outputs that do not
// exist.
func packScales(out, values []byte, src rows, p panel, size int) {
	clear(out)
	for g := range src.groups {
		copy(out[g*panelRows*size:], values[(g*src.n+p.first)*size:][:p.live*size])
	}
}

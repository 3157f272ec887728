package lower_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/lower"
)

// TestPanels holds the packed weights against the formulas of docs/isa.md §4,
// element by element, for every format, a padded last panel and alternating
// panels.
func TestPanels(t *testing.T) {
	const k = 96
	for _, c := range []struct {
		bits, group   int
		layout        ir.Layout
		unsigned      bool
		scale, offset tensor.DType
	}{
		{16, 0, ir.NK, false, 0, 0},
		{16, 0, ir.KN, false, 0, 0},
		{8, 0, ir.KN, false, tensor.F16, 0},
		{8, 32, ir.KN, false, tensor.BF16, tensor.F16},
		{8, 16, ir.KN, false, tensor.F32, 0},
		{4, 32, ir.KN, false, tensor.F16, 0},
		{4, 64, ir.KN, false, tensor.F32, tensor.F32},
		{4, 32, ir.KN, true, tensor.F16, tensor.F16},
		{4, 0, ir.KN, true, tensor.BF16, tensor.F32},
	} {
		for _, interleave := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d.g%d layout %d unsigned %v %v+%v interleave %v", c.bits, c.group, c.layout, c.unsigned, c.scale, c.offset, interleave), func(t *testing.T) {
				outs := []int{32, 24}
				if interleave {
					outs = []int{32, 32}
				}
				n := &ir.Node{Op: ir.Linear, Interleave: interleave, Type: ir.Type{DType: ir.F32, Rows: 1, Cols: outs[0] + outs[1]}}
				r := rand.New(rand.NewPCG(1, 2))
				files := map[string][]byte{}
				for i, out := range outs {
					name := fmt.Sprintf("w%d", i)
					groups := 1
					if c.group > 0 {
						groups = (k + c.group - 1) / c.group
					}
					codes, scales, offsets := k*out*c.bits/8, groups*out*c.scale.Bytes(), groups*out*c.offset.Bytes()
					file := make([]byte, 3+codes+scales+offsets)
					for j := range file {
						file[j] = byte(r.Uint32())
					}
					files[name] = file
					n.Weights = append(n.Weights, &ir.Weight{
						Name: name, N: out, K: k, Bits: c.bits, GroupSize: c.group, Layout: c.layout,
						Unsigned: c.unsigned, ScaleType: c.scale, OffsetType: c.offset,
						Codes:   ir.Range{Location: name, Offset: 3, Length: int64(codes)},
						Scales:  ir.Range{Location: name, Offset: int64(3 + codes), Length: int64(scales)},
						Offsets: ir.Range{Location: name, Offset: int64(3 + codes + scales), Length: int64(offsets)},
					})
				}
				packed, p := pack(t, n, files)
				checkPanels(t, n, files, packed, p)
			})
		}
	}
}

// pack lowers a program of one linear and returns its weight segment.
func pack(t *testing.T, n *ir.Node, files map[string][]byte) ([]byte, *lower.Program) {
	t.Helper()
	f := &ir.Func{Name: "pack"}
	x := f.Append(&ir.Node{Op: ir.Input, Name: "x", Type: ir.Type{DType: ir.BF16, Rows: 1, Cols: n.Weights[0].K}})
	n.Args = []*ir.Node{x}
	f.Append(n)
	f.Append(&ir.Node{Op: ir.Output, Name: "y", Args: []*ir.Node{n}})
	p, err := lower.Lower(f, lower.MachineLimits())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.WriteWeights(&b, func(name string) ([]byte, error) { return files[name], nil }); err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != p.WeightsSize {
		t.Fatalf("WriteWeights wrote %d bytes, want %d", b.Len(), p.WeightsSize)
	}
	return b.Bytes(), p
}

// checkPanels reads every element back.
func checkPanels(t *testing.T, n *ir.Node, files map[string][]byte, packed []byte, p *lower.Program) {
	t.Helper()
	bits, group, k := n.Weights[0].Bits, n.Weights[0].GroupSize, n.Weights[0].K
	perLine := 32 / bits
	panelBytes := 16 * k * bits / 8
	groups := 0
	if bits != 16 {
		groups = 1
		if group > 0 {
			groups = (k + group - 1) / group
		}
	}
	panels := 0
	for _, w := range n.Weights {
		panels += (w.N + 15) / 16
	}
	scales := (panels*panelBytes + 63) / 64 * 64
	offsets := (scales + panels*groups*16*n.Weights[0].ScaleType.Bytes() + 63) / 64 * 64
	row := 0 // panel
	for pi := range panels {
		wi, first := 0, pi*16
		switch {
		case n.Interleave:
			wi, first = pi%2, pi/2*16
		case pi >= n.Weights[0].N/16:
			wi, first = 1, (pi-n.Weights[0].N/16)*16
		}
		w, file := n.Weights[wi], files[n.Weights[wi].Name][3:]
		for r := range 16 {
			out := first + r
			for kk := range k {
				line, i := kk/perLine, kk%perLine
				dword := binary.LittleEndian.Uint32(packed[pi*panelBytes+line*64+r*4:])
				bit := bits * i
				if bits == 4 {
					bit = 16*(i%2) + 4*(i/2)
				}
				got := dword >> bit & (1<<bits - 1)
				want, flip := uint32(0), uint32(0)
				if bits == 4 && !w.Unsigned {
					want, flip = 8, 8
				}
				at := kk*w.N + out
				if w.Layout == ir.NK {
					at = out*k + kk
				}
				if out < w.N {
					switch bits {
					case 16:
						want = uint32(binary.LittleEndian.Uint16(file[2*at:]))
					case 8:
						want = uint32(file[at])
					default:
						want = uint32(file[at/2]>>(4*(at%2))&15) ^ flip
					}
				}
				if got != want {
					t.Fatalf("panel %d output %d input %d = %#x, want %#x", pi, out, kk, got, want)
				}
			}
			for g := range groups {
				at := w.K * w.N * bits / 8 // in the file
				for i, stream := range []struct {
					at   int
					size int
				}{{scales, w.ScaleType.Bytes()}, {offsets, w.OffsetType.Bytes()}} {
					got := packed[stream.at+((row*groups+g)*16+r)*stream.size:][:stream.size]
					want := make([]byte, stream.size)
					if out < w.N {
						copy(want, file[at+stream.size*(g*w.N+out):])
					}
					if !bytes.Equal(got, want) {
						t.Fatalf("panel %d output %d group %d: stream %d: %x, want %x", pi, out, g, i, got, want)
					}
					at += groups * w.N * stream.size
				}
			}
		}
		row++
	}
	for _, s := range p.Symbols {
		if strings.HasSuffix(s.Name, ".scales") && s.Offset < int64(scales) {
			t.Errorf("symbol %s at %d stands before the scales at %d", s.Name, s.Offset, scales)
		}
	}
}

// TestWriteWeightsRefuses checks that a file of the wrong size is an error
// that names the weight.
func TestWriteWeightsRefuses(t *testing.T) {
	w := &ir.Weight{Name: "w", N: 16, K: 32, Bits: 8, Layout: ir.KN, ScaleType: tensor.F16, Codes: ir.Range{Location: "f", Length: 512}, Scales: ir.Range{Location: "f", Offset: 512, Length: 32}}
	n := &ir.Node{Op: ir.Linear, Type: ir.Type{DType: ir.F32, Rows: 1, Cols: 16}, Weights: []*ir.Weight{w}}
	_, p := pack(t, n, map[string][]byte{"f": make([]byte, 544)})
	for _, size := range []int{0, 511, 543} {
		err := p.WriteWeights(&bytes.Buffer{}, func(string) ([]byte, error) { return make([]byte, size), nil })
		if err == nil || !strings.Contains(err.Error(), `weight "w"`) {
			t.Errorf("WriteWeights of a file of %d bytes = %v, want an error naming the weight", size, err)
		}
	}
}

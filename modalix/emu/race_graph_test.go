package emu_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

// touch is a line of 32 bytes of a quad's S, read or written.
type touch struct {
	quad, line int
	write      bool
}

// graph is happens-before by its definition: nodes and edges. Node q·size+i
// is instruction i of quad q; further nodes are the barriers.
type graph struct {
	edges [][]int
}

func (g *graph) reaches(from, to int) bool {
	seen := map[int]bool{}
	todo := []int{from}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n == to {
			return true
		}
		if !seen[n] {
			seen[n] = true
			todo = append(todo, g.edges[n]...)
		}
	}
	return false
}

// happensBefore builds the graph of a program whose quads have size
// instructions each.
func happensBefore(quads [][]isa.Inst, size int) *graph {
	g := &graph{edges: make([][]int, len(quads)*size+size)}
	edge := func(a, b int) { g.edges[a] = append(g.edges[a], b) }
	for q, insts := range quads {
		var pushes [4][4][]int
		var last [4]int
		bars := 0
		for i := range last {
			last[i] = -1
		}
		for i := range insts {
			in, node := &insts[i], q*size+i
			u := in.Op.Index()
			for from := range 4 {
				if in.Pop>>from&1 != 0 {
					edge(pushes[from][u][0], node)
					pushes[from][u] = pushes[from][u][1:]
				}
			}
			if last[u] >= 0 {
				edge(last[u], node)
			}
			end := node
			if in.Op == isa.BAR {
				end = len(quads)*size + bars
				edge(node, end)
				bars++
			}
			last[u] = end
			for to := range 4 {
				if in.Push>>to&1 != 0 {
					pushes[u][to] = append(pushes[u][to], end)
				}
			}
		}
	}
	return g
}

// touches lists the lines of an instruction, as randomQuad makes them.
func touches(in *isa.Inst, q int) []touch {
	switch in.Op {
	case isa.LD:
		return []touch{{q, int(in.S / 32), true}}
	case isa.ST:
		return []touch{{q, int(in.S / 32), false}}
	case isa.ADD:
		return []touch{{q, int(in.D / 32), true}, {q, int(in.X / 32), false}}
	case isa.PUT:
		return []touch{{q, int(in.S / 32), false}, {1 - q, int(in.D / 32), true}}
	}
	return nil
}

// randomQuad returns instructions on few lines, with tokens between random
// pairs.
func randomQuad(r *rand.Rand, q, size, bars int) []isa.Inst {
	var insts []isa.Inst
	line := func() uint32 { return 32 * uint32(r.IntN(6)) }
	for i := range size - 1 {
		if bars > 0 && (i+1)%(size/(bars+1)) == 0 && i/(size/(bars+1)) < bars {
			insts = append(insts, isa.Inst{Op: isa.BAR, K: uint32(i / (size / (bars + 1)))})
			continue
		}
		in := isa.Inst{Op: []isa.Op{isa.LD, isa.ADD, isa.ST, isa.PUT}[r.IntN(4)]}
		if in.Op == isa.ADD {
			in.D, in.X = line(), 192+line()
			in.M, in.N, in.LdD, in.LdX, in.TD, in.TX, in.YShape = 1, 8, 32, 32, isa.F32, isa.F32, isa.Imm
		} else {
			in.S, in.Rows, in.Len, in.SStr, in.DStr = line(), 1, 32, 32, 32
			switch in.Op {
			case isa.LD:
				in.Seg = isa.In
				in.S += 192 * uint32(r.IntN(2))
			case isa.ST:
				in.Seg, in.Off = isa.Out, uint32(q*512+i*32)
			default:
				in.D, in.Quads = 192+line(), 1<<(1-q)
			}
		}
		insts = append(insts, in)
	}
	for range r.IntN(3 * size) {
		i, j := r.IntN(size-1), r.IntN(size-1)
		if j-i > 5 || i >= j || insts[i].Op.Queue() == insts[j].Op.Queue() {
			continue
		}
		if a, b := &insts[i], &insts[j]; a.Push&b.Op.Queue() == 0 && b.Pop&a.Op.Queue() == 0 {
			a.Push |= b.Op.Queue()
			b.Pop |= a.Op.Queue()
		}
	}
	return append(insts, isa.Inst{Op: isa.END})
}

// TestRacesAgainstGraph compares the verdict of Load with reachability in
// the graph, over all pairs of instructions.
func TestRacesAgainstGraph(t *testing.T) {
	r := rand.New(rand.NewPCG(30, 31))
	clean := 0
	for range 6000 {
		size, bars := 4+r.IntN(12), r.IntN(3)
		quads := [][]isa.Inst{randomQuad(r, 0, size, bars), randomQuad(r, 1, size, bars)}
		o := &object{raw: [][]byte{encodeAll(t, quads[0]), encodeAll(t, quads[1])}, host: map[isa.Segment]int64{isa.In: 32, isa.Out: 1024}}
		_, err := emu.Load(o.bytes(t))
		if err != nil && !strings.Contains(err.Error(), "unordered") {
			t.Fatal(err)
		}
		g := happensBefore(quads, size)
		race := false
		for a := range 2 * size {
			for b := range a {
				for _, x := range touches(&quads[a/size][a%size], a/size) {
					for _, y := range touches(&quads[b/size][b%size], b/size) {
						if x.quad == y.quad && x.line == y.line && (x.write || y.write) && !g.reaches(a, b) && !g.reaches(b, a) {
							race = true
						}
					}
				}
			}
		}
		if race != (err != nil) {
			t.Fatalf("Load = %v, want a race: %v\n%v\n%v", err, race, quads[0], quads[1])
		}
		if !race {
			clean++
		}
	}
	if clean < 300 || clean > 5700 {
		t.Errorf("%d of 6000 programs are free of races: not a test", clean)
	}
}

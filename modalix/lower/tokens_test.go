package lower_test

import (
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/modalix/isa"
	"github.com/llima-build/llima/modalix/lower"
)

const testK = 64 // inputs of every tile in random programs

// randomInst touches a small memory, so that conflicts are frequent.
func randomInst(r *rand.Rand) isa.Inst {
	s := func() uint32 { return uint32(r.IntN(16)) * 256 }
	seg := []isa.Segment{isa.Tmp, isa.KV}[r.IntN(2)]
	switch r.IntN(7) {
	case 0:
		return isa.Inst{Op: isa.LD, Seg: seg, Off: s(), S: s(), Rows: 1 + uint32(r.IntN(3)), Len: 64, SStr: 256, DStr: 128}
	case 1:
		return isa.Inst{Op: isa.LDW, Seg: isa.Weights, NP: 1, KB: testK / 32, Tile: uint32(r.IntN(isa.NumTiles)), CPitch: 2048}
	case 2, 3:
		return isa.Inst{
			Op: isa.MM, A: s(), C: s() + 8192, M: 1, LdA: 128, LdC: 64, Tile: uint32(r.IntN(isa.NumTiles)), NP: 1, Acc: r.IntN(2) == 0,
		}
	case 4:
		return isa.Inst{
			Op: isa.ADD, D: s(), X: s() + 8192, Y: s(), M: 2, N: 16, LdD: 64, LdX: 64, LdY: 64, TD: isa.F32, TX: isa.F32, TY: isa.F32,
		}
	case 5:
		return isa.Inst{Op: isa.STK, X: s(), Seg: isa.KV, M: 1, D: 32, LdX: 64, H: 1, HPitch: 2048, Idx: s()}
	default:
		return isa.Inst{Op: isa.ST, Seg: seg, Off: s(), S: s(), Rows: 1, Len: 128, SStr: 128, DStr: 128}
	}
}

// TestInsertTokensIsLegal checks rules (a), (b) and (d) of docs/isa.md §1 on
// random programs, (d) against every pair of instructions.
func TestInsertTokensIsLegal(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		code := make([]isa.Inst, 0, 61+isa.NumTiles)
		for tile := range uint32(isa.NumTiles) {
			code = append(code, isa.Inst{Op: isa.LDW, Seg: isa.Weights, NP: 1, KB: testK / 32, Tile: tile, CPitch: 2048})
		}
		for range 60 {
			code = append(code, randomInst(r))
		}
		code = append(code, isa.Inst{Op: isa.END})
		if err := lower.InsertTokens(code); err != nil {
			t.Fatalf("seed %d: InsertTokens = %v", seed, err)
		}
		checkLegal(t, code, lower.Conflicts(code))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkLegal replays tokens in program order and derives happens-before by
// reachability.
func checkLegal(t *testing.T, code []isa.Inst, conflict func(i, j int) bool) {
	t.Helper()
	var waiting [isa.NumQueues][isa.NumQueues][]int
	last := [isa.NumQueues]int{-1, -1, -1, -1}
	before := make([]map[int]bool, len(code))
	for i, in := range code {
		q := in.Op.Index()
		before[i] = map[int]bool{}
		after := func(j int) {
			before[i][j] = true
			for k := range before[j] {
				before[i][k] = true
			}
		}
		if last[q] >= 0 {
			after(last[q])
		}
		for from := range isa.NumQueues {
			if in.Pop>>from&1 == 0 {
				continue
			}
			if len(waiting[from][q]) == 0 {
				t.Errorf("instruction %d pops from %d: no token", i, from)
				return
			}
			after(waiting[from][q][0])
			waiting[from][q] = waiting[from][q][1:]
		}
		for to := range isa.NumQueues {
			if in.Push>>to&1 == 1 {
				if waiting[q][to] = append(waiting[q][to], i); len(waiting[q][to]) > isa.MaxTokens {
					t.Errorf("instruction %d: %d tokens", i, len(waiting[q][to]))
				}
			}
		}
		last[q] = i
		for j := range i {
			if in.Op != isa.END && !before[i][j] && conflict(i, j) {
				t.Errorf("instructions %d (%v) and %d (%v) conflict unordered", j, code[j].Op, i, in.Op)
			}
		}
	}
	for from := range isa.NumQueues {
		for to := range isa.NumQueues {
			if n := len(waiting[from][to]); n != 0 {
				t.Errorf("%d tokens left from %d to %d", n, from, to)
			}
		}
	}
}

// TestInsertTokensIsSparse checks that a token is spent only where none
// orders the pair already: a chain through two queues needs no third edge.
func TestInsertTokensIsSparse(t *testing.T) {
	code := []isa.Inst{
		{Op: isa.LD, Seg: isa.In, S: 0, Rows: 1, Len: 64, SStr: 64, DStr: 64},
		{Op: isa.CVT, X: 0, D: 256, M: 1, N: 16, LdX: 64, LdD: 64, TX: isa.F32, TD: isa.F32},
		{Op: isa.CVT, X: 0, D: 512, M: 1, N: 16, LdX: 64, LdD: 64, TX: isa.F32, TD: isa.F32},
		{Op: isa.ST, Seg: isa.Out, S: 512, Rows: 1, Len: 64, SStr: 64, DStr: 64},
		{Op: isa.END},
	}
	if err := lower.InsertTokens(code); err != nil {
		t.Fatal(err)
	}
	want := [][2]isa.Queue{{0, isa.QueueVX}, {isa.QueueLD, 0}, {0, isa.QueueST}, {isa.QueueVX, 0}, {0, 0}}
	for i := range code {
		if got := [2]isa.Queue{code[i].Pop, code[i].Push}; got != want[i] {
			t.Errorf("instruction %d: pop and push = %v, want %v", i, got, want[i])
		}
	}
}

package vendor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
)

// tableOf makes a table of a model of layers layers.
func tableOf(layers int, vision bool, want func(p point) outcome) []point {
	var out []point
	add := func(p point) {
		p.want = want(p)
		out = append(out, p)
	}
	if vision {
		add(point{part: addr.Vision})
	}
	for i := range layers {
		for _, group := range []bool{true, false} {
			for _, part := range []addr.Part{addr.Pre, addr.Cache, addr.Post} {
				add(point{part: part, group: group, index: i})
			}
		}
	}
	return out
}

var outcomes = []outcome{
	{config.BF16, true, config.LoRADisabled},
	{config.INT8, true, config.LoRADisabled},
	{config.INT4, true, config.LoRADisabled},
	{},
	{config.INT8, true, config.LoRABranch},
}

// TestCompactRandom makes rules of tables without any pattern: they decide
// alike, and their number stays bounded.
func TestCompactRandom(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		layers, kinds := 1+r.IntN(40), 1+r.IntN(len(outcomes))
		points := tableOf(layers, seed%2 == 0, func(point) outcome { return outcomes[r.IntN(kinds)] })
		l := compact(points)
		if !agrees(l, points) {
			t.Errorf("seed %d: the rules decide otherwise than the table", seed)
		}
		if most := 7 * kinds; len(l.rules) > most {
			t.Errorf("seed %d: %d rules, want at most %d", seed, len(l.rules), most)
		}
	}
}

// agrees asks the rules point by point.
func agrees(l decisionList, points []point) bool {
	for i := range points {
		then := l.otherwise
		for _, r := range l.rules {
			if r.when.holds(&points[i]) {
				then = r.then
				break
			}
		}
		if then != points[i].want {
			return false
		}
	}
	return true
}

// TestCompactPatterns holds how few rules patterns need that people write.
func TestCompactPatterns(t *testing.T) {
	bf16, int8, int4, skip := outcomes[0], outcomes[1], outcomes[2], outcomes[3]
	pick := func(ok bool, a, b outcome) outcome {
		if ok {
			return a
		}
		return b
	}
	for _, c := range []struct {
		name  string
		want  func(p point) outcome
		rules int
	}{
		{"one", func(point) outcome { return int8 }, 0},
		{"nothing", func(point) outcome { return skip }, 0},
		{"phases", func(p point) outcome { return pick(p.group, int8, int4) }, 1},
		{"first and last", func(p point) outcome { return pick(p.index < 2 || p.index >= 78, bf16, int4) }, 1},
		{"every third", func(p point) outcome { return pick(p.index%3 == 0, int8, int4) }, 1},
		{"listed", func(p point) outcome { return pick(p.index*7%11 == 3, bf16, int4) }, 1},
		{"part of a range", func(p point) outcome {
			return pick(p.part == addr.Cache && p.index > 20, skip, pick(p.index < 4, bf16, int8))
		}, 2},
		{"part and phase", func(p point) outcome {
			return pick(p.part == addr.Post && !p.group, int4, pick(p.part == addr.Pre, bf16, int8))
		}, 2},
		{"thirds", func(p point) outcome { return pick(p.index < 26, bf16, pick(p.index < 53, int8, int4)) }, 2},
	} {
		l := compact(tableOf(80, true, c.want))
		if len(l.rules) != c.rules {
			t.Errorf("%s: %d rules, want %d:\n%s", c.name, len(l.rules), c.rules, describeList(l))
		}
	}
}

func describeList(l decisionList) string {
	s := ""
	for _, r := range l.rules {
		s += fmt.Sprintf("  %s → %v\n", r.when.text(), r.then)
	}
	return s + fmt.Sprintf("  otherwise %v\n", l.otherwise)
}

func BenchmarkCompactRandom(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	points := tableOf(80, true, func(point) outcome { return outcomes[r.IntN(4)] })
	for b.Loop() {
		compact(points)
	}
}

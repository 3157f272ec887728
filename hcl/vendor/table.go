package vendor

import (
	"cmp"
	"slices"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// outcome is what rules say of a part, without where they say it. A part that
// is not compiled has no other property.
type outcome struct {
	precision config.Precision
	compile   bool
	lora      config.LoRA
}

func outcomeOf(d config.Decision) outcome {
	if !d.Compile {
		return outcome{}
	}
	return outcome{d.Precision, true, d.LoRA}
}

// point is one part as rules see it, and what is wanted for it.
type point struct {
	part  addr.Part // CONV is PRE
	group bool
	index int
	want  outcome
}

// ask asks rules about every part, and returns the points: parts that rules
// cannot tell apart are one.
func ask(rules config.Rules, props config.Properties, parts []addr.PartID) ([]point, diag.List) {
	var out []point
	var diags diag.List
	for _, id := range parts {
		layer := config.Layer{PartID: id, FromEnd: props.NumHiddenLayers - id.Index}
		d, ds := rules.Decide(props, layer)
		diags = append(diags, ds...)
		p := point{part: id.Part, group: layer.IsGroup(), index: id.Index, want: outcomeOf(d)}
		if p.part == addr.Conv {
			p.part = addr.Pre
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, diags.Sorted()
}

// condition is a conjunction: what is left at its zero value is not asked.
type condition struct {
	part    addr.Part
	byPart  int // 0 any, 1 this part, -1 any but this
	byGroup int // 0 any, 1 prefill, -1 decode and vision
	low     int // first index
	high    int // index after the last, 0 for no bound
	modulus int // index % modulus == residue, 0 for not asked
	residue int
	set     []int // the indices, nil for not asked
}

func (c *condition) holds(p *point) bool {
	switch {
	case c.byPart != 0 && (p.part == c.part) != (c.byPart > 0),
		c.byGroup != 0 && p.group != (c.byGroup > 0),
		p.index < c.low, c.high > 0 && p.index >= c.high,
		c.modulus > 0 && p.index%c.modulus != c.residue,
		c.set != nil && !slices.Contains(c.set, p.index):
		return false
	}
	return true
}

// cost is how much a condition asks of its reader.
func (c *condition) cost() float64 {
	n := 0.0
	for _, asked := range []bool{c.byPart > 0, c.byGroup != 0, c.low > 0, c.high > 0 && c.high != c.low+1} {
		if asked {
			n++
		}
	}
	if c.byPart < 0 {
		n += 1.1
	}
	if c.modulus > 0 {
		n += 1.2
	}
	return n + 0.5*float64(len(c.set)) + min(float64(len(c.set)), 1)
}

// decisionRule is a rule of the list that is being made.
type decisionRule struct {
	when condition
	then outcome
}

// decisionList is rules of which the first that holds decides, and what holds
// where none does.
type decisionList struct {
	rules     []decisionRule
	otherwise outcome
}

func (l *decisionList) decide(p *point) outcome {
	for i := range l.rules {
		if l.rules[i].when.holds(p) {
			return l.rules[i].then
		}
	}
	return l.otherwise
}

// agrees reports whether the list decides on every point as is wanted.
func (l *decisionList) agrees(points []point) bool {
	for i := range points {
		if l.decide(&points[i]) != points[i].want {
			return false
		}
	}
	return true
}

func (l *decisionList) cost() float64 {
	n := 0.0
	for i := range l.rules {
		n += 3 + l.rules[i].when.cost()
	}
	if !l.otherwise.compile { // takes a rule of its own
		n += 3
	}
	return n
}

// compact finds a short list of rules that decides on every point as is
// wanted. It tries each outcome as the one that holds otherwise, covers the
// rest greedily in two ways, and takes what it can from the cheapest.
func compact(points []point) decisionList {
	var outcomes []outcome
	count := map[outcome]int{}
	for _, p := range points {
		if count[p.want] == 0 {
			outcomes = append(outcomes, p.want)
		}
		count[p.want]++
	}
	slices.SortStableFunc(outcomes, func(a, b outcome) int { return cmp.Compare(count[b], count[a]) })
	if len(outcomes) == 0 {
		return decisionList{otherwise: outcome{config.BF16, true, config.LoRADisabled}}
	}
	candidates := candidates(points)
	var best decisionList
	for i, otherwise := range outcomes[:min(len(outcomes), 6)] {
		for way := range 2 {
			l := cover(points, candidates, otherwise, way == 1)
			l.simplify(points)
			if i+way == 0 || l.cost() < best.cost() {
				best = l
			}
		}
	}
	return best
}

// cover chooses rules, the widest first, until all points that differ from
// otherwise are decided. A rule holds for undecided points of one outcome only.
func cover(points []point, candidates []condition, otherwise outcome, byCost bool) decisionList {
	l := decisionList{otherwise: otherwise}
	decided := make([]bool, len(points))
	left := 0
	for _, p := range points {
		if p.want != otherwise {
			left++
		}
	}
	for left > 0 {
		var best decisionRule
		bestScore, bestGain := 0.0, 0
		for i := range candidates {
			gain, then := gainOf(&candidates[i], points, decided)
			if gain == 0 || then == otherwise {
				continue
			}
			score := float64(gain) - 0.01*candidates[i].cost()
			if byCost {
				score = float64(gain) / (3 + candidates[i].cost())
			}
			if score > bestScore {
				best, bestScore, bestGain = decisionRule{candidates[i], then}, score, gain
			}
		}
		if bestGain == 0 {
			panic("llima: internal error: a part that no condition tells from the others")
		}
		l.rules = append(l.rules, best)
		for i := range points {
			if !decided[i] && best.when.holds(&points[i]) {
				decided[i] = true
				left--
			}
		}
	}
	return l
}

// gainOf counts the undecided points that a condition would decide; 0 where
// they want different things.
func gainOf(c *condition, points []point, decided []bool) (gain int, then outcome) {
	for i := range points {
		if decided[i] || !c.holds(&points[i]) {
			continue
		}
		if gain > 0 && points[i].want != then {
			return 0, outcome{}
		}
		then = points[i].want
		gain++
	}
	return gain, then
}

// simplify drops what the rules do not need, and moves rules where they need
// less.
func (l *decisionList) simplify(points []point) {
	for improved := true; improved; {
		improved = false
		for i := range l.rules {
			for to := range l.rules {
				for _, when := range simpler(l.rules[i].when, to != i) {
					next := l.moved(i, to, when)
					if next.cost() < l.cost() && next.agrees(points) {
						*l, improved = next, true
					}
				}
			}
		}
		for i := 0; i < len(l.rules); i++ {
			next := decisionList{slices.Delete(slices.Clone(l.rules), i, i+1), l.otherwise}
			if next.agrees(points) {
				*l, improved = next, true
				i--
			}
		}
	}
}

// moved returns the list with rule i at another place and under another
// condition.
func (l *decisionList) moved(i, to int, when condition) decisionList {
	rules := slices.Delete(slices.Clone(l.rules), i, i+1)
	return decisionList{slices.Insert(rules, to, decisionRule{when, l.rules[i].then}), l.otherwise}
}

// simpler returns a condition with one or two of its questions left out.
func simpler(c condition, two bool) []condition {
	drops := []func(*condition){
		func(c *condition) { c.byPart, c.part = 0, 0 }, func(c *condition) { c.byGroup = 0 },
		func(c *condition) { c.low = 0 }, func(c *condition) { c.high = 0 },
		func(c *condition) { c.modulus, c.residue = 0, 0 },
	}
	var out []condition
	for i, drop := range drops {
		one := c
		drop(&one)
		if one.cost() < c.cost() {
			out = append(out, one)
		}
		for _, also := range drops[i+1:] {
			if both := one; two {
				also(&both)
				if both.cost() < one.cost() {
					out = append(out, both)
				}
			}
		}
	}
	return out
}

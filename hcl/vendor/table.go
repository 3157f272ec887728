package vendor

import (
	"cmp"
	mathbits "math/bits"
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
	t := newTable(points)
	if len(t.outcomes) == 0 {
		return decisionList{otherwise: outcome{config.BF16, true, config.LoRADisabled}}
	}
	var best decisionList
	for i, otherwise := range t.outcomes[:min(len(t.outcomes), 6)] {
		for way := range 2 {
			l := t.cover(otherwise, way == 1)
			l.simplify(points)
			if i+way == 0 || l.cost() < best.cost() {
				best = l
			}
		}
	}
	return best
}

// bits is a set of points.
type bits []uint64

// table is the points with what conditions there are and where they hold.
type table struct {
	points     []point
	outcomes   []outcome // the most frequent first
	wants      map[outcome]bits
	candidates []condition
	holds      []bits // where each candidate does
}

func newTable(points []point) *table {
	t := &table{points: points, wants: map[outcome]bits{}, candidates: candidates(points)}
	words := (len(points) + 63) / 64
	count := map[outcome]int{}
	for i, p := range points {
		if t.wants[p.want] == nil {
			t.outcomes = append(t.outcomes, p.want)
			t.wants[p.want] = make(bits, words)
		}
		t.wants[p.want][i/64] |= 1 << (i % 64)
		count[p.want]++
	}
	slices.SortStableFunc(t.outcomes, func(a, b outcome) int { return cmp.Compare(count[b], count[a]) })
	for c := range t.candidates {
		where := make(bits, words)
		for i := range points {
			if t.candidates[c].holds(&points[i]) {
				where[i/64] |= 1 << (i % 64)
			}
		}
		t.holds = append(t.holds, where)
	}
	return t
}

// cover chooses rules, the widest first, until all points that differ from
// otherwise are decided. A rule holds for undecided points of one outcome only.
func (t *table) cover(otherwise outcome, byCost bool) decisionList {
	l := decisionList{otherwise: otherwise}
	undecided := make(bits, len(t.wants[otherwise]))
	for i := range t.points {
		undecided[i/64] |= 1 << (i % 64)
	}
	for undecided.besides(t.wants[otherwise]) {
		best, bestScore := -1, 0.0
		var then outcome
		for c := range t.candidates {
			gain, want := t.gain(c, undecided)
			if gain == 0 || want == otherwise {
				continue
			}
			score := float64(gain) - 0.01*t.candidates[c].cost()
			if byCost {
				score = float64(gain) / (3 + t.candidates[c].cost())
			}
			if best < 0 || score > bestScore {
				best, bestScore, then = c, score, want
			}
		}
		if best < 0 {
			panic("llima: internal error: a part that no condition tells from the others")
		}
		l.rules = append(l.rules, decisionRule{t.candidates[best], then})
		for i, w := range t.holds[best] {
			undecided[i] &^= w
		}
	}
	return l
}

// besides reports whether a set has a point that other has not.
func (b bits) besides(other bits) bool {
	for i, w := range b {
		if w&^other[i] != 0 {
			return true
		}
	}
	return false
}

// gain counts the undecided points that a candidate would decide; 0 where
// they want different things.
func (t *table) gain(c int, undecided bits) (gain int, then outcome) {
	found := false
	for i, w := range t.holds[c] {
		w &= undecided[i]
		if w == 0 {
			continue
		}
		if !found {
			found, then = true, t.points[64*i+mathbits.TrailingZeros64(w)].want
		}
		if w&^t.wants[then][i] != 0 {
			return 0, then
		}
		gain += mathbits.OnesCount64(w)
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

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
		p := point{part: id.Part.InRules(), group: layer.IsGroup(), index: id.Index, want: outcomeOf(d)}
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
	when  condition
	then  outcome
	where bits // the points at which when holds
}

// decisionList is rules of which the first that holds decides, and what holds
// where none does.
type decisionList struct {
	rules     []decisionRule
	otherwise outcome
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
			t.simplify(&l)
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
	all        bits
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
	t.all = t.where(&condition{})
	for c := range t.candidates {
		t.holds = append(t.holds, t.where(&t.candidates[c]))
	}
	return t
}

// where returns the points at which a condition holds.
func (t *table) where(c *condition) bits {
	out := make(bits, (len(t.points)+63)/64)
	for i := range t.points {
		if c.holds(&t.points[i]) {
			out[i/64] |= 1 << (i % 64)
		}
	}
	return out
}

// agrees reports whether a list decides on every point as is wanted.
func (t *table) agrees(l *decisionList) bool {
	undecided := slices.Clone(t.all)
	for _, r := range l.rules {
		want := t.wants[r.then]
		for i, w := range r.where {
			if w&undecided[i]&^want[i] != 0 {
				return false
			}
			undecided[i] &^= w
		}
	}
	return !undecided.besides(t.wants[l.otherwise])
}

// cover chooses rules, the widest first, until all points that differ from
// otherwise are decided. A rule holds for undecided points of one outcome only.
func (t *table) cover(otherwise outcome, byCost bool) decisionList {
	l := decisionList{otherwise: otherwise}
	undecided := slices.Clone(t.all)
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
		l.rules = append(l.rules, decisionRule{t.candidates[best], then, t.holds[best]})
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
func (t *table) simplify(l *decisionList) {
	for improved := true; improved; {
		improved = false
		for i := range l.rules {
			improved = t.relax(l, i) || improved
		}
		for i := 0; i < len(l.rules); i++ {
			next := decisionList{slices.Delete(slices.Clone(l.rules), i, i+1), l.otherwise}
			if t.agrees(&next) {
				*l, improved = next, true
				i--
			}
		}
	}
}

// relax looks for a place at which rule i needs to ask less.
func (t *table) relax(l *decisionList, i int) bool {
	for _, when := range simpler(l.rules[i].when) {
		rule := decisionRule{when, l.rules[i].then, t.where(&when)}
		for step := range 2 * len(l.rules) { // its own place, then nearer ones first
			to := i + (step+1)/2
			if step%2 == 1 {
				to = i - (step+1)/2
			}
			if to < 0 || to >= len(l.rules) {
				continue
			}
			rules := slices.Delete(slices.Clone(l.rules), i, i+1)
			next := decisionList{slices.Insert(rules, to, rule), l.otherwise}
			if t.agrees(&next) {
				*l = next
				return true
			}
		}
	}
	return false
}

// simpler returns a condition with some of its questions left out, those that
// ask least first.
func simpler(c condition) []condition {
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
			both := one
			also(&both)
			if both.cost() < one.cost() {
				out = append(out, both)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b condition) int { return cmp.Compare(a.cost(), b.cost()) })
	return out
}

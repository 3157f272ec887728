package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// change is a group of targets of one stage that are stale for the same cause.
type change struct {
	state  planner.State
	stage  addr.Stage
	cause  cause
	names  map[string]bool // of the inputs that changed, where the cause is one
	count  int
	shared int // targets beside count that get what one of those makes
	layers []int
	units  []string // of targets without a layer
}

// cause is what the targets of a change have in common.
type cause struct {
	code fingerprint.Code // of the reason that weighs most
	kind string           // of an input: "tensor", "file", "shard"
	text string           // of everything else
}

// changes lists what is stale, causes first, targets of one cause together.
func changes(b *strings.Builder, p *planner.Plan, m *planner.Model, o PlanOptions) {
	if o.All {
		everything(b, p, m, o)
		return
	}
	groups := collect(p, m)
	if len(groups) == 0 {
		return
	}
	b.WriteString("\n")
	t := table{align: "lrlll", columns: o.Columns}
	for _, g := range groups {
		mark, style := g.symbol(o.Color)
		t.addMarked(style, mark, fmt.Sprint(g.count), g.stage.String(), g.where(), g.reason())
	}
	t.write(b)
}

// everything lists each target of a model.
func everything(b *strings.Builder, p *planner.Plan, m *planner.Model, o PlanOptions) {
	b.WriteString("\n")
	t := table{align: "lll", columns: o.Columns}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.Target.Model != m {
			continue
		}
		g := change{state: d.State, names: map[string]bool{}}
		g.cause = causeOf(p, d, g.names)
		reason := g.reason()
		if d.With != nil {
			reason = "shared with " + d.With.Addr.String()
		}
		mark, style := g.symbol(o.Color)
		t.addMarked(style, mark, d.Target.Addr.String(), reason)
	}
	t.write(b)
}

// collect groups what is stale in a model, in the order in which it is shown.
func collect(p *planner.Plan, m *planner.Model) []*change {
	var groups []*change
	type key struct {
		state planner.State
		stage addr.Stage
		cause cause
	}
	find := map[key]*change{}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.Target.Model != m || d.State == planner.Fresh {
			continue
		}
		names := map[string]bool{}
		k := key{d.State, d.Target.Addr.Stage, causeOf(p, d, names)}
		if d.With != nil {
			k.state = planner.Run
		}
		g := find[k]
		if g == nil {
			g = &change{state: k.state, stage: k.stage, cause: k.cause, names: map[string]bool{}}
			find[k] = g
			groups = append(groups, g)
		}
		g.add(d)
		maps.Copy(g.names, names)
	}
	slices.SortStableFunc(groups, func(a, c *change) int {
		return cmp.Or(cmp.Compare(order(a.state), order(c.state)), cmp.Compare(a.stage, c.stage))
	})
	return groups
}

func (g *change) add(d *planner.Decision) {
	if d.With != nil {
		g.shared++
	} else {
		g.count++
	}
	unit := d.Target.Addr.Unit
	number := unit[strings.LastIndexAny(unit, "._")+1:]
	if layer, err := strconv.Atoi(number); err == nil {
		g.layers = append(g.layers, layer)
	} else if unit != "" {
		g.units = append(g.units, unit)
	}
}

func order(s planner.State) int {
	return slices.Index([]planner.State{planner.Run, planner.MayRun, planner.Restore, planner.Fresh}, s)
}

// symbol stands for what a build would do: + make for the first time, ~ make
// again, ? perhaps, < take from the store, = nothing.
func (g *change) symbol(color bool) (mark, style string) {
	switch g.state {
	case planner.Run:
		if mark, style = "~", magenta; g.cause.code == fingerprint.NeverBuilt {
			mark, style = "+", green
		}
	case planner.MayRun:
		mark, style = "?", cyan
	case planner.Restore:
		mark, style = "<", green
	case planner.Fresh:
		mark, style = "=", dim
	}
	if !color {
		style = ""
	}
	return mark, style
}

// where names the layers of a change, and what of it belongs to none.
func (g *change) where() string {
	if g.count+g.shared == 1 && len(g.layers) == 1 && g.stage != addr.MPK {
		return fmt.Sprintf("layer %d", g.layers[0])
	}
	slices.Sort(g.layers)
	layers := slices.Compact(slices.Clone(g.layers))
	var parts []string
	switch len(layers) {
	case 0:
	case 1:
		parts = append(parts, "layer "+ranges(layers))
	default:
		parts = append(parts, "layers "+ranges(layers))
	}
	if len(g.units) <= 3 {
		parts = append(parts, g.units...)
	}
	return strings.Join(parts, ", ")
}

// reason says in a few words why the targets of a change are in their state.
func (g *change) reason() string {
	text := g.cause.text
	if g.cause.kind != "" {
		names := slices.Sorted(maps.Keys(g.names))
		what := names[0]
		if len(names) > 1 {
			what = plural(len(names), g.cause.kind)
		}
		text = inputVerb(g.cause.code) + ": " + what
	}
	if g.shared > 0 {
		text += fmt.Sprintf(", %d more share them", g.shared)
	}
	return text
}

// causeOf returns why a target is in its state, and adds the names of the
// inputs that are the cause.
func causeOf(p *planner.Plan, d *planner.Decision, names map[string]bool) cause {
	switch d.State {
	case planner.MayRun:
		return cause{text: "only if " + waitsFor(p, d) + " changes"}
	case planner.Fresh:
		return cause{text: "fresh"}
	case planner.Run, planner.Restore:
	}
	if len(d.Reasons) == 0 {
		return cause{}
	}
	reasons := slices.Clone(d.Reasons)
	slices.SortStableFunc(reasons, func(a, b fingerprint.Reason) int { return cmp.Compare(rank(a), rank(b)) })
	first := reasons[0]
	c := cause{code: first.Code}
	if verb := inputVerb(first.Code); verb != "" && first.Where == "" {
		kind, _, _ := strings.Cut(first.Name, "/")
		if _, upstream := addr.ParseStage(kind); upstream {
			c.text = "its " + kind + " output changed"
			return c
		}
		c.kind = kind
		for _, r := range reasons {
			if r.Code == first.Code && strings.HasPrefix(r.Name, kind+"/") {
				names[trimKind(r.Name)] = true
			}
		}
		return c
	}
	c.text = ReasonText(first)
	if d.State == planner.Restore && d.With == nil && first.Code == fingerprint.NeverBuilt {
		c.text = "made before, for another target"
	}
	if first.Code == fingerprint.ParamChanged && first.Name == "precision" { // short enough for a line of the table
		c.text = strings.ReplaceAll(strings.TrimPrefix(c.text, "precision: "), "A_BF16_W_", "")
	}
	if more := causes(reasons) - 1; more > 0 {
		c.text += fmt.Sprintf(" and %d more", more)
	}
	return c
}

// causes counts the reasons that are not consequences of what other targets
// made.
func causes(reasons []fingerprint.Reason) int {
	n := 0
	for _, r := range reasons {
		kind, _, _ := strings.Cut(r.Name, "/")
		if _, upstream := addr.ParseStage(kind); !upstream || inputVerb(r.Code) == "" {
			n++
		}
	}
	return n
}

// waitsFor names what of a target's dependencies is not known yet.
func waitsFor(p *planner.Plan, d *planner.Decision) string {
	stages := map[addr.Stage]bool{}
	for _, dep := range d.Target.Deps {
		if up := p.Of(dep); up != nil && (up.State == planner.Run || up.State == planner.MayRun || up.With != nil) {
			stages[dep.Addr.Stage] = true
		}
	}
	if len(stages) == 1 {
		for s := range stages {
			return s.String() + " output"
		}
	}
	return "what it reads"
}

// rank orders reasons by how much they say: of parameters a precision says
// most, as others may follow from it.
func rank(r fingerprint.Reason) int {
	n := 2 * slices.Index([]fingerprint.Code{
		fingerprint.Forced, fingerprint.ToolChanged, fingerprint.ParamChanged, fingerprint.InputChanged, fingerprint.InputAdded,
		fingerprint.InputRemoved, fingerprint.UpstreamChanged, fingerprint.OutputMissing, fingerprint.OutputModified,
		fingerprint.Interrupted, fingerprint.NeverBuilt,
	}, r.Code)
	if r.Code == fingerprint.ParamChanged && r.Name != "precision" {
		n++
	}
	return n
}

package view

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/llima-build/llima/planner"
)

// GraphFormats lists the formats of [Graph].
var GraphFormats = []string{"dot", "mermaid", "json"}

// graphNode is a target or, collapsed, the targets of a model's stage that are
// in one state.
type graphNode struct {
	ID      string `json:"id"` // an address, or a pattern with the state: "m:quantize (run)"
	Model   string `json:"model"`
	Stage   string `json:"stage"`
	Unit    string `json:"unit,omitempty"`
	State   string `json:"state"`
	Targets int    `json:"targets"`
	Where   string `json:"layers,omitempty"`

	group *change
}

type graphEdge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// graphDocument is what graph --format json prints.
type graphDocument struct {
	FormatVersion int         `json:"format_version"`
	Collapsed     bool        `json:"collapsed"`
	Nodes         []graphNode `json:"nodes"`
	Edges         []graphEdge `json:"edges"`
}

// Graph prints the targets of a plan and what each reads, in one of
// [GraphFormats]. Unless all is set, the layers of a stage are one node for
// each state that they are in.
func Graph(w io.Writer, p *planner.Plan, format string, all bool) error {
	doc := newGraph(p, all)
	var b strings.Builder
	switch format {
	case "dot":
		doc.dot(&b)
	case "mermaid":
		doc.mermaid(&b)
	case "json":
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(doc); err != nil {
			return err
		}
	default:
		return fmt.Errorf("llima: internal error: graph format %q", format)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func newGraph(p *planner.Plan, all bool) *graphDocument {
	doc := &graphDocument{FormatVersion: 1, Collapsed: !all, Nodes: []graphNode{}, Edges: []graphEdge{}}
	index, of := map[string]int{}, map[*planner.Target]string{}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		a := d.Target.Addr
		state := d.State
		if d.With != nil { // shares what one that runs makes
			state = planner.Run
		}
		n := graphNode{ID: a.String(), Model: a.Model, Stage: a.Stage.String(), Unit: a.Unit, State: d.State.String()}
		if !all {
			n.Unit, n.State = "", state.String()
			n.ID = fmt.Sprintf("%s:%s (%s)", a.Model, a.Stage, n.State)
		}
		of[d.Target] = n.ID
		at, ok := index[n.ID]
		if !ok {
			at = len(doc.Nodes)
			index[n.ID] = at
			n.group = &change{stage: a.Stage}
			doc.Nodes = append(doc.Nodes, n)
		}
		doc.Nodes[at].Targets++
		doc.Nodes[at].group.add(d)
	}
	for i := range doc.Nodes {
		if !all {
			doc.Nodes[i].Where = doc.Nodes[i].group.where()
		}
	}
	seen := map[graphEdge]bool{}
	for i := range p.Decisions {
		t := p.Decisions[i].Target
		for _, dep := range t.Deps {
			e := graphEdge{of[dep], of[t]}
			if !seen[e] && e.From != e.To {
				seen[e] = true
				doc.Edges = append(doc.Edges, e)
			}
		}
	}
	slices.SortFunc(doc.Nodes, func(a, b graphNode) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(doc.Edges, func(a, b graphEdge) int {
		return strings.Compare(a.From+"\x00"+a.To, b.From+"\x00"+b.To)
	})
	return doc
}

// lines is the label of a node.
func (n *graphNode) lines() []string {
	if n.Targets == 1 && n.Unit != "" {
		return []string{n.Stage, n.Unit, n.State}
	}
	out := []string{n.Stage}
	if n.Where != "" {
		out = append(out, n.Where)
	}
	return append(out, fmt.Sprintf("%d %s", n.Targets, n.State))
}

// fills colour a node by its state; the label says it too.
var fills = map[string]string{
	planner.Fresh.String(): "#f2f2f2", planner.Restore.String(): "#d9ead3", planner.Run.String(): "#f4cccc", planner.MayRun.String(): "#fff2cc",
}

// byModel calls f for each model with its nodes, in order.
func (g *graphDocument) byModel(f func(i int, model string, nodes []graphNode)) {
	models := map[string][]graphNode{}
	var names []string
	for _, n := range g.Nodes {
		if models[n.Model] == nil {
			names = append(names, n.Model)
		}
		models[n.Model] = append(models[n.Model], n)
	}
	for i, name := range names {
		f(i, name, models[name])
	}
}

func (g *graphDocument) dot(b *strings.Builder) {
	b.WriteString("digraph llima {\n  rankdir=LR;\n  node [shape=box, style=filled, color=\"#666666\", fontcolor=\"#000000\"];\n")
	g.byModel(func(i int, model string, nodes []graphNode) {
		fmt.Fprintf(b, "  subgraph cluster_%d {\n    label=%s;\n", i, dotString(model))
		for _, n := range nodes {
			fmt.Fprintf(b, "    %s [label=%s, fillcolor=%q];\n", dotString(n.ID), dotString(n.lines()...), fills[n.State])
		}
		b.WriteString("  }\n")
	})
	for _, e := range g.Edges {
		fmt.Fprintf(b, "  %s -> %s;\n", dotString(e.From), dotString(e.To))
	}
	b.WriteString("}\n")
}

// dotString quotes text of several lines (Graphviz, "The DOT Language").
func dotString(lines ...string) string {
	for i, l := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable(l))
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}

func (g *graphDocument) mermaid(b *strings.Builder) {
	b.WriteString("flowchart LR\n")
	ids := make(map[string]string, len(g.Nodes))
	states := map[string][]string{}
	g.byModel(func(i int, model string, nodes []graphNode) {
		fmt.Fprintf(b, "  subgraph m%d[%s]\n", i, mermaidString(model))
		for _, n := range nodes {
			id := fmt.Sprintf("n%d", len(ids))
			ids[n.ID] = id
			states[n.State] = append(states[n.State], id)
			fmt.Fprintf(b, "    %s[%s]\n", id, mermaidString(n.lines()...))
		}
		b.WriteString("  end\n")
	})
	for _, e := range g.Edges {
		fmt.Fprintf(b, "  %s --> %s\n", ids[e.From], ids[e.To])
	}
	for _, s := range []planner.State{planner.Fresh, planner.Restore, planner.Run, planner.MayRun} {
		if nodes := states[s.String()]; len(nodes) > 0 {
			class := strings.ReplaceAll(s.String(), " ", "_")
			fmt.Fprintf(b, "  classDef %s fill:%s,stroke:#666666,color:#000000\n  class %s %s\n", class, fills[s.String()], strings.Join(nodes, ","), class)
		}
	}
}

// mermaidString quotes text of several lines: entities stand for what is not
// plain (Mermaid, "Flowcharts", "Entity codes to escape characters").
func mermaidString(lines ...string) string {
	for i, l := range lines {
		var s strings.Builder
		for _, r := range printable(l) {
			if strings.ContainsRune("\"#&<>;`", r) {
				fmt.Fprintf(&s, "#%d;", r)
			} else {
				s.WriteRune(r)
			}
		}
		lines[i] = s.String()
	}
	return `"` + strings.Join(lines, "<br/>") + `"`
}

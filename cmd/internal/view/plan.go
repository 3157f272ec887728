package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// mapWidth is how many layers a row of the precision map shows.
const mapWidth = 64

// Plan shows what the rules decide and what is stale, model by model.
func Plan(w io.Writer, p *planner.Plan, all, color bool) error {
	var b strings.Builder
	for i, m := range p.Graph.Models {
		if i > 0 {
			b.WriteString("\n")
		}
		planModel(&b, p, m, all, color)
	}
	n := p.Count()
	b.WriteString("\n" + countLine(n) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func countLine(n map[planner.State]int) string {
	parts := []string{fmt.Sprintf("%d to run", n[planner.Run])}
	if n[planner.MayRun] > 0 {
		parts = append(parts, fmt.Sprintf("%d may run", n[planner.MayRun]))
	}
	if n[planner.Restore] > 0 {
		parts = append(parts, fmt.Sprintf("%d restored from the store", n[planner.Restore]))
	}
	return strings.Join(append(parts, fmt.Sprintf("%d fresh", n[planner.Fresh])), " · ")
}

func planModel(b *strings.Builder, p *planner.Plan, m *planner.Model, all, color bool) {
	c := m.Config
	name := c.Name
	if color {
		name = "\x1b[1m" + name + "\x1b[0m"
	}
	fmt.Fprintf(b, "%s  %s · hf · %s · context %d\n  %s → %s\n\n", name, path.Base(strings.ReplaceAll(c.SourceText, "\\", "/")),
		plural(m.Arch.NumHiddenLayers, "layer"), c.ContextTokens, c.SourceText, c.OutputText)
	rules(b, m)
	b.WriteString("\n")
	precisionMap(b, m)
	sizes(b, m)
	changes(b, p, m, all)
}

// rules lists each rule with what it decided.
func rules(b *strings.Builder, m *planner.Model) {
	type row struct {
		parts  int
		bytes  int64
		detail string
	}
	list := m.Config.Rules.List()
	rows := map[int]*row{}
	for _, p := range m.Parts {
		r, ok := rows[p.Decision.Rule]
		if !ok {
			r = &row{detail: string(p.Decision.Precision)}
			if !p.Decision.Compile {
				r.detail = "not compiled"
			}
			rows[p.Decision.Rule] = r
		} else if p.Decision.Compile && r.detail != string(p.Decision.Precision) {
			r.detail = "several"
		}
		r.parts++
		if p.Decision.Compile {
			r.bytes += p.WeightBytes
		}
	}
	t := table{align: "llrlr"}
	t.add("rule", "at", "parts", "precision", "weights")
	line := func(i int, name, at string) {
		if r, ok := rows[i]; ok {
			size := Bytes(r.bytes)
			if r.detail == "not compiled" {
				size = "–"
			}
			t.add(name, at, fmt.Sprint(r.parts), r.detail, size)
		}
	}
	for i, r := range list {
		line(i, r.Name, place(r.Range.File, r.Range.Start.Line))
	}
	line(-1, "(default)", "")
	embed := int64(m.Arch.VocabSize) * int64(m.Arch.HiddenSize) * 2
	t.add("(embeddings)", "", "", string(config.BF16), Bytes(embed))
	t.write(b)
}

func place(file string, line int) string {
	if file == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", path.Base(strings.ReplaceAll(file, "\\", "/")), line)
}

// precisionMap draws a letter for each layer: what each part is compiled with.
func precisionMap(b *strings.Builder, m *planner.Model) {
	letters := map[config.Precision]byte{config.BF16: 'B', config.INT8: '8', config.INT4: '4'}
	used := map[byte]bool{}
	rows := map[string][]byte{}
	for _, p := range m.Parts {
		key := fmt.Sprintf("%-6s %s", p.ID.Part, p.ID.Phase.String()[:1])
		letter := letters[p.Decision.Precision]
		switch {
		case !p.Decision.Compile:
			letter = '-'
		case p.ID.Part == addr.Cache:
			letter = 'c'
		}
		used[letter] = true
		rows[key] = append(rows[key], letter)
	}
	for from := 0; from < m.Arch.NumHiddenLayers; from += mapWidth {
		to := min(from+mapWidth, m.Arch.NumHiddenLayers)
		var ruler strings.Builder
		for l := from; l < to; l += 10 {
			fmt.Fprintf(&ruler, "%-10d", l)
		}
		fmt.Fprintf(b, "  %-8s  %s\n", "layer", strings.TrimRight(ruler.String(), " "))
		for _, part := range addr.Parts {
			for _, phase := range addr.Phases {
				key := fmt.Sprintf("%-6s %s", part, phase.String()[:1])
				if r := rows[key]; len(r) >= to {
					fmt.Fprintf(b, "  %s  %s\n", key, r[from:to])
				}
			}
		}
	}
	var legend []string
	for _, l := range []struct {
		letter byte
		text   string
	}{{'B', "B BF16"}, {'8', "8 INT8"}, {'4', "4 INT4"}, {'c', "c compiled, holds no weights"}, {'-', "- not compiled"}} {
		if used[l.letter] {
			legend = append(legend, l.text)
		}
	}
	fmt.Fprintf(b, "  p prefill, d decode · %s\n\n", strings.Join(legend, " · "))
}

// sizes shows what the model takes on disk and in memory.
func sizes(b *strings.Builder, m *planner.Model) {
	var weights, float int64
	for _, p := range m.Parts {
		if p.Decision.Compile {
			weights += p.WeightBytes
			float += p.FloatBytes
		}
	}
	a := m.Arch
	kv := 2 * 2 * int64(a.NumHiddenLayers) * int64(m.Params.ContextTokens) * int64(a.NumKeyValueHeads) * int64(a.HeadDim)
	embed := int64(a.VocabSize) * int64(a.HiddenSize) * 2
	fmt.Fprintf(b, "  memory %s = weights %s + embeddings %s + KV cache %s\n",
		Bytes(weights+embed+kv), Bytes(weights), Bytes(embed), Bytes(kv))
	if weights != float {
		fmt.Fprintf(b, "  the same weights in BF16: %s\n", Bytes(float))
	}
}

// change is a group of targets that are stale for the same reason.
type change struct {
	state  planner.State
	stage  addr.Stage
	reason string
	count  int
	layers []int
	units  []string
}

// changes lists what is stale, causes first, targets of one cause together.
func changes(b *strings.Builder, p *planner.Plan, m *planner.Model, all bool) {
	var groups []*change
	find := map[string]*change{}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.Target.Model != m || d.State == planner.Fresh && !all {
			continue
		}
		reason := reasonText(d)
		key := fmt.Sprint(d.State, d.Target.Addr.Stage, reason)
		if all {
			key = d.Target.Addr.String()
		}
		g, ok := find[key]
		if !ok {
			g = &change{state: d.State, stage: d.Target.Addr.Stage, reason: reason}
			find[key] = g
			groups = append(groups, g)
		}
		g.count++
		if d.Target.Part != (addr.PartID{}) || strings.HasSuffix(d.Target.Addr.Unit, "PRE.0") {
			g.layers = append(g.layers, d.Target.Part.Index)
		}
		g.units = append(g.units, d.Target.Addr.Unit)
	}
	if len(groups) == 0 {
		return
	}
	slices.SortStableFunc(groups, func(a, c *change) int {
		return cmp.Or(cmp.Compare(order(a.state), order(c.state)), cmp.Compare(a.stage, c.stage))
	})
	b.WriteString("\n")
	t := table{align: "lrlll"}
	for _, g := range groups {
		t.add(symbol(g.state), fmt.Sprint(g.count), g.stage.String(), g.where(), g.reason)
	}
	t.write(b)
}

func order(s planner.State) int {
	return slices.Index([]planner.State{planner.Run, planner.MayRun, planner.Restore, planner.Fresh}, s)
}

func symbol(s planner.State) string {
	switch s {
	case planner.Run:
		return "~"
	case planner.MayRun:
		return "?"
	case planner.Restore:
		return "<"
	case planner.Fresh:
		return "="
	}
	return " "
}

func (g *change) where() string {
	if g.count == 1 {
		return g.units[0]
	}
	if len(g.layers) == g.count {
		slices.Sort(g.layers)
		l := slices.Compact(slices.Clone(g.layers))
		if len(l) == 1 {
			return "layer " + ranges(l)
		}
		return "layers " + ranges(l)
	}
	return ""
}

// reasonText says in a few words why a target is in its state.
func reasonText(d *planner.Decision) string {
	switch d.State {
	case planner.MayRun:
		return "only if what it reads changes"
	case planner.Fresh:
		return "fresh"
	case planner.Run, planner.Restore:
	}
	// One cause stands for its consequences: a parameter for what it changed.
	reasons := slices.Clone(d.Reasons)
	slices.SortStableFunc(reasons, func(a, b fingerprint.Reason) int { return cmp.Compare(rank(a.Code), rank(b.Code)) })
	if len(reasons) == 0 {
		return ""
	}
	if stage, _, ok := strings.Cut(reasons[0].Name, "/"); ok {
		if _, upstream := addr.ParseStage(stage); upstream {
			return "its " + stage + " output changed"
		}
	}
	text := ReasonText(reasons[0])
	if reasons[0].Name == "precision" { // short enough for a line of the table
		text = strings.ReplaceAll(strings.TrimPrefix(text, "precision: "), "A_BF16_W_", "")
	}
	if len(reasons) > 1 && reasons[0].Code != fingerprint.ParamChanged {
		text += fmt.Sprintf(" and %d more", len(reasons)-1)
	}
	return text
}

func rank(c fingerprint.Code) int {
	return slices.Index([]fingerprint.Code{
		fingerprint.ToolChanged, fingerprint.ParamChanged, fingerprint.InputChanged, fingerprint.InputAdded, fingerprint.InputRemoved,
		fingerprint.UpstreamChanged, fingerprint.OutputMissing, fingerprint.OutputModified, fingerprint.Interrupted, fingerprint.NeverBuilt,
	}, c)
}

// ReasonText says a reason in a few words.
func ReasonText(r fingerprint.Reason) string {
	switch r.Code {
	case fingerprint.NeverBuilt:
		return "never built"
	case fingerprint.Interrupted:
		if r.Name != "" {
			return "not finished: " + r.Name
		}
		return "not finished last time"
	case fingerprint.ParamChanged:
		if strings.HasPrefix(r.New, "[") || strings.HasPrefix(r.New, "{") {
			return r.Name + " changed" // lists are too long to show
		}
		text := fmt.Sprintf("%s: %s → %s", r.Name, orNone(r.Old), orNone(r.New))
		if r.Where != "" {
			text += ", " + r.Where
		}
		return text
	case fingerprint.InputChanged:
		return "changed: " + trimKind(r.Name)
	case fingerprint.InputAdded:
		return "new: " + trimKind(r.Name)
	case fingerprint.InputRemoved:
		return "gone: " + trimKind(r.Name)
	case fingerprint.UpstreamChanged:
		return "rebuilt: " + r.Name
	case fingerprint.ToolChanged:
		return "llima's " + r.Name + " stage is another version"
	case fingerprint.OutputMissing:
		return "missing: " + r.Name
	case fingerprint.OutputModified:
		return "modified: " + r.Name
	case fingerprint.Forced:
		return "forced"
	}
	return string(r.Code)
}

func trimKind(name string) string {
	for _, kind := range []string{"tensor/", "file/", "shard/"} {
		name = strings.TrimPrefix(name, kind)
	}
	return name
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Why shows one target: its state, each reason, and what it reads.
func Why(w io.Writer, p *planner.Plan, d *planner.Decision) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s\n", d.Target.Addr, map[planner.State]string{
		planner.Fresh: "fresh", planner.Run: "stale", planner.Restore: "stale, and can be restored from the store",
		planner.MayRun: "stale if what it reads changes",
	}[d.State])
	t := table{align: "lll"}
	for _, r := range d.Reasons {
		t.add(string(r.Code), ReasonText(r))
	}
	t.write(&b)
	if d.State == planner.MayRun {
		b.WriteString("\nit waits for\n")
		for i := range p.Decisions {
			up := &p.Decisions[i]
			if slices.Contains(d.Target.Deps, up.Target) && up.State != planner.Fresh {
				fmt.Fprintf(&b, "  %-8s %s\n", up.State, up.Target.Addr)
			}
		}
	} else {
		fmt.Fprintf(&b, "\nkey %s reads\n", d.Key.Short())
		t = table{align: "lll"}
		for name, v := range sorted(d.Preimage.Params) {
			value := string(v)
			if len(value) > 48 {
				value = value[:45] + "..."
			}
			t.add(name, value, d.Target.Where[name])
		}
		for _, in := range d.Preimage.Inputs {
			t.add(in.Name, in.Digest.Short())
		}
		t.write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sorted[V any](m map[string]V) func(yield func(string, V) bool) {
	return func(yield func(string, V) bool) {
		var keys []string
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// planDocument is what plan --json prints.
type planDocument struct {
	FormatVersion int          `json:"format_version"`
	Models        []planModelJ `json:"models"`
	Targets       []planTarget `json:"targets"`
}

type planModelJ struct {
	Name         string     `json:"name"`
	Source       string     `json:"source"`
	Output       string     `json:"output"`
	Architecture string     `json:"architecture"`
	Layers       int        `json:"num_hidden_layers"`
	Context      int        `json:"context_length"`
	Parts        []planPart `json:"parts"`
}

type planPart struct {
	Part        string           `json:"part"`
	Precision   config.Precision `json:"precision"`
	Compile     bool             `json:"compile"`
	Rule        string           `json:"rule,omitempty"`
	Where       string           `json:"where"`
	WeightBytes int64            `json:"weight_bytes"`
}

type planTarget struct {
	Address string               `json:"address"`
	State   string               `json:"state"`
	Key     fingerprint.Digest   `json:"key,omitempty"`
	Reasons []fingerprint.Reason `json:"reasons"`
}

// PlanJSON prints a plan as a JSON document.
func PlanJSON(w io.Writer, p *planner.Plan) error {
	doc := planDocument{FormatVersion: 1, Models: []planModelJ{}, Targets: []planTarget{}}
	for _, m := range p.Graph.Models {
		j := planModelJ{
			Name: m.Config.Name, Source: m.Config.SourceText, Output: m.Config.OutputText, Architecture: m.Arch.Architecture,
			Layers: m.Arch.NumHiddenLayers, Context: m.Config.ContextTokens,
		}
		list := m.Config.Rules.List()
		for _, part := range m.Parts {
			pp := planPart{
				Part: part.ID.String(), Precision: part.Decision.Precision, Compile: part.Decision.Compile,
				Where: part.Decision.Where.String(), WeightBytes: part.WeightBytes,
			}
			if part.Decision.Rule >= 0 {
				pp.Rule = list[part.Decision.Rule].Name
			}
			j.Parts = append(j.Parts, pp)
		}
		doc.Models = append(doc.Models, j)
	}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		t := planTarget{Address: d.Target.Addr.String(), State: d.State.String(), Key: d.Key, Reasons: d.Reasons}
		if t.Reasons == nil {
			t.Reasons = []fingerprint.Reason{}
		}
		doc.Targets = append(doc.Targets, t)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

package view

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Sensitivity is the document of llima eval --sensitivity --json: what each
// part loses in each precision while everything else is BF16, and the best
// mixtures by what follows from that. KL are means over tokens, in nats; those of a
// whole are means of the phases that were measured. Clocks, and what is
// of this command and not of the model, stand in Time only.
type Sensitivity struct {
	FormatVersion int                    `json:"format_version"`
	Model         string                 `json:"model"`
	Text          SensitivityText        `json:"text"`
	Phases        []string               `json:"measured_phases"` // one where it stands for both
	Precisions    []SensitivityPrecision `json:"precisions"`
	SizeBytes     int64                  `json:"size_bytes"` // with every part in BF16
	Changes       []SensitivityChange    `json:"changes"`    // in the order of the model
	Frontier      []SensitivityPoint     `json:"frontier"`   // from all BF16 to the smallest
	Chosen        *SensitivityChosen     `json:"chosen,omitempty"`
	Time          SensitivityTime        `json:"time"`
}

// SensitivityText is what was read.
type SensitivityText struct {
	Name    string      `json:"name"`
	SHA256  string      `json:"sha256"`
	Tokens  int         `json:"tokens"` // scored, of the windows that were taken
	Windows EvalWindows `json:"windows"`
}

// SensitivityPrecision is the model with all parts in one precision.
type SensitivityPrecision struct {
	Precision string   `json:"precision"`
	GroupSize string   `json:"group_size,omitempty"` // as llima.hcl has it
	Method    string   `json:"method,omitempty"`
	Head      string   `json:"head"` // precision of the output head
	Key       string   `json:"key"`  // of the build: of its weights, configuration and methods
	SizeBytes int64    `json:"size_bytes"`
	KL        *float64 `json:"kl,omitempty"` // measured; absent for BF16
}

// SensitivityChange is one part in another precision.
type SensitivityChange struct {
	Part       string      `json:"part"` // "prefill.PRE.0"
	Precision  string      `json:"precision"`
	SavedBytes int64       `json:"saved_bytes"`
	KL         float64     `json:"kl"`
	Interval   *[2]float64 `json:"kl_ci95,omitempty"`
	Floor      float64     `json:"floor"` // of it: what roundings lose that any change moves
	Share      float64     `json:"share"` // percent of the KL above the floor of all parts of the phase in the precision
}

// SensitivityPoint is a mixture: that of the point before with one change more.
type SensitivityPoint struct {
	SizeBytes int64                `json:"size_bytes"`
	KL        float64              `json:"kl"`      // predicted: the sum of its changes above their floors, and the highest floor
	Changed   []SensitivityAssign  `json:"changed"` // against the point before; empty for the first
	Measured  *SensitivityMeasured `json:"measured,omitempty"`
	Counts    map[string]int       `json:"parts"` // by precision
}

// SensitivityAssign gives a part a precision.
type SensitivityAssign struct {
	Part      string `json:"part"`
	Precision string `json:"precision"`
}

// SensitivityMeasured is what a mixture lost when all of it ran together.
type SensitivityMeasured struct {
	KL       float64            `json:"kl"`
	Interval *[2]float64        `json:"kl_ci95,omitempty"`
	Phases   map[string]float64 `json:"phases"`
}

// SensitivityChosen is the point that was asked for.
type SensitivityChosen struct {
	Point  int    `json:"point"`  // index into the frontier
	Layers string `json:"layers"` // layer blocks of llima.hcl
}

// SensitivityTime is how long it took, and what for: a run is of a mixture on a
// window.
type SensitivityTime struct {
	BuildMillis  float64 `json:"build_ms"`
	WallMillis   float64 `json:"wall_ms"` // measuring
	MeasuredRuns int     `json:"measured_runs"`
	KeptRuns     int     `json:"kept_runs"` // measured before
}

// KeptRuns says how much was measured before.
func KeptRuns(w io.Writer, kept, measured int) {
	if measured == 0 {
		fmt.Fprintf(w, "nothing to measure: %s kept from before\n", plural(kept, "run"))
		return
	}
	fmt.Fprintf(w, "measured %s; %d more were kept from before\n", plural(measured, "run"), kept)
}

// SensitivityOptions says how much to show.
type SensitivityOptions struct {
	Columns int
	All     bool // every change
}

// Rows that tables of a long list have.
const (
	changeRows   = 24
	frontierRows = 12
)

// ShowSensitivity shows a document as tables of at most 80 columns.
func ShowSensitivity(w io.Writer, s *Sensitivity, o SensitivityOptions) error {
	var b strings.Builder
	sensitivityHead(&b, s, o.Columns)
	sensitivityChanges(&b, s, o)
	sensitivityFrontier(&b, s)
	sensitivityChosen(&b, s)
	_, err := io.WriteString(w, b.String())
	return err
}

func sensitivityHead(b *strings.Builder, s *Sensitivity, columns int) {
	fmt.Fprintf(b, "%s, one part at a time against BF16\n", printable(s.Model))
	read := "read by " + strings.Join(s.Phases, " and by ")
	if len(s.Phases) == 1 {
		other := map[string]string{"prefill": "decode", "decode": "prefill"}[s.Phases[0]]
		read += " (" + other + " loses the same)"
	}
	text := fmt.Sprintf("%s scored in %s of %d, %s", plural(s.Text.Tokens, "token"), plural(s.Text.Windows.Count, "window"), s.Text.Windows.Tokens, read)
	for _, line := range flow([]string{printable(s.Text.Name), text}, ": ", columns-2) {
		fmt.Fprintln(b, "  "+line)
	}
	b.WriteString("\n")
}

// changePair is a part with its change to each precision.
type changePair struct {
	part    string
	changes map[string]*SensitivityChange
	worst   float64 // share
}

// sensitivityChanges is a row a part and columns a precision, the most
// sensitive parts of each phase first.
func sensitivityChanges(b *strings.Builder, s *Sensitivity, o SensitivityOptions) {
	var order []string // precisions
	var rows []*changePair
	byPart := map[string]*changePair{}
	for i := range s.Changes {
		c := &s.Changes[i]
		p := byPart[c.Part]
		if p == nil {
			p = &changePair{part: c.Part, changes: map[string]*SensitivityChange{}}
			byPart[c.Part] = p
			rows = append(rows, p)
		}
		p.changes[c.Precision] = c
		p.worst = max(p.worst, c.Share)
		if !slices.Contains(order, c.Precision) {
			order = append(order, c.Precision)
		}
	}
	slices.SortStableFunc(rows, func(a, b *changePair) int {
		phase := func(p *changePair) string { f, _, _ := strings.Cut(p.part, "."); return f }
		return cmp.Or(cmp.Compare(phase(b), phase(a)), cmp.Compare(b.worst, a.worst)) // prefill first
	})
	t := table{align: "llr" + strings.Repeat("rrr", len(order))}
	head := []string{"phase", "part", "layer"}
	for _, p := range order {
		head = append(head, shortPrecision(p)+" less", "KL", "share")
	}
	t.add(head...)
	shown, total := map[string]int{}, 0
	for _, r := range rows {
		f := strings.Split(r.part, ".")
		if len(s.Phases) == 1 {
			if f[0] != s.Phases[0] {
				continue
			}
			f[0] = "both"
		}
		total++
		if shown[f[0]]++; shown[f[0]] > changeRows/len(s.Phases) && !o.All && len(rows) > changeRows+changeRows/2 {
			continue
		}
		cells := []string{f[0], f[1], f[2]}
		for _, p := range order {
			c := r.changes[p]
			if c == nil {
				cells = append(cells, "", "", "")
				continue
			}
			cells = append(cells, Bytes(c.SavedBytes), shortNats(c.KL), fmt.Sprintf("%.1f %%", c.Share))
		}
		t.add(cells...)
	}
	t.write(b)
	if left := total + 1 - len(t.rows); left > 0 {
		fmt.Fprintf(b, "  and %s that lose less; --all shows them\n", plural(left, "part"))
	}
	low, high := math.Inf(1), 0.0
	for _, c := range s.Changes {
		if c.Floor > 0 {
			low, high = min(low, c.Floor), max(high, c.Floor)
		}
	}
	if high > 0 {
		fmt.Fprintf(b, "  of each KL, %s to %s are of roundings that any change moves;\n  share is of what is above\n", shortNats(low), shortNats(high))
	}
	b.WriteString("\n")
}

// shortPrecision is what columns are called by.
func shortPrecision(p string) string { return strings.TrimPrefix(p, "A_BF16_W_") }

// sensitivityFrontier shows every point of a short frontier; of a long one
// those that were measured and some between.
func sensitivityFrontier(b *strings.Builder, s *Sensitivity) {
	unit := unitOf(s.SizeBytes)
	t := table{align: "rrrrrrrl"}
	t.add("size, "+unit.name, "of BF16", "BF16", "INT8", "INT4", "predicted", "measured", "")
	for i, p := range s.Frontier {
		chosen := s.Chosen != nil && s.Chosen.Point == i
		if !frontierRow(i, len(s.Frontier)) && p.Measured == nil && !chosen {
			continue
		}
		measured, mark := "", ""
		if p.Measured != nil {
			measured = shortNats(p.Measured.KL)
		}
		if chosen {
			mark = "chosen"
		}
		t.add(twoDigits(unit, p.SizeBytes), fmt.Sprintf("%.0f %%", 100*float64(p.SizeBytes)/float64(max(s.SizeBytes, 1))),
			strconv.Itoa(p.Counts["BF16"]), strconv.Itoa(p.Counts["A_BF16_W_INT8"]), strconv.Itoa(p.Counts["A_BF16_W_INT4"]), shortNats(p.KL), measured, mark)
	}
	b.WriteString("  best mixtures; KL predicted from single parts, and measured together\n")
	t.write(b)
	for _, p := range s.Precisions {
		if p.KL != nil {
			fmt.Fprintf(b, "  all in %s: %s %s, KL %s\n", shortPrecision(p.Precision), twoDigits(unit, p.SizeBytes), unit.name, shortNats(*p.KL))
		}
	}
}

// frontierRow picks rows of a long frontier, equally far apart.
func frontierRow(i, n int) bool {
	if n <= frontierRows+4 || i == 0 || i == n-1 {
		return true
	}
	return i*frontierRows/n != (i-1)*frontierRows/n
}

func sensitivityChosen(b *strings.Builder, s *Sensitivity) {
	if s.Chosen == nil {
		return
	}
	p := s.Frontier[s.Chosen.Point]
	fmt.Fprintf(b, "\n  %s, KL %s; for model %q of llima.hcl:\n\n%s", Bytes(p.SizeBytes), shortNats(p.Measured.KL), printable(s.Model), s.Chosen.Layers)
}

// shortNats is a divergence in a narrow column, with the digits that a ranking
// needs.
func shortNats(v float64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%#.3g", v)
}

// twoDigits is a size in a unit: points of a frontier lie close together.
func twoDigits(u unit, n int64) string { return fmt.Sprintf("%.2f", float64(n)/float64(u.bytes)) }

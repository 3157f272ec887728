package planner

import (
	"time"

	"github.com/llima-build/llima/internal/addr"
)

// Estimate is what a build is expected to take.
type Estimate struct {
	Wall  time.Duration // from what earlier builds took
	Known bool          // whether they tell that for every stage
	// DiskBytes is what is written to the store and the output folders, where
	// files cannot share their bytes.
	DiskBytes int64
}

// NewEstimate says what a build of a plan takes with that many jobs. What may
// run is counted as if it did.
func NewEstimate(p *Plan, facts Facts, jobs int) Estimate {
	var e Estimate
	e.Wall, e.Known = p.wall(jobs)
	seen := map[string]bool{}
	parts := map[*Model]map[addr.PartID]Part{}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.State != Run && d.State != MayRun {
			continue
		}
		m := d.Target.Model
		if parts[m] == nil {
			parts[m] = map[addr.PartID]Part{}
			for _, part := range m.Parts {
				parts[m][part.ID] = part
			}
		}
		e.DiskBytes += diskBytes(d.Target, parts[m], seen, facts)
	}
	return e
}

// wall sums up how long targets took when they ran last or, where that is not
// known, the others of their stage.
func (p *Plan) wall(jobs int) (sum time.Duration, known bool) {
	var total, count [256]int64
	for _, d := range p.Decisions {
		if d.LastMillis > 0 {
			total[d.Target.Addr.Stage] += d.LastMillis
			count[d.Target.Addr.Stage]++
		}
	}
	known = true
	millis := int64(0)
	for _, d := range p.Decisions {
		stage := d.Target.Addr.Stage
		switch {
		case d.State != Run && d.State != MayRun:
		case d.LastMillis > 0:
			millis += d.LastMillis
		case count[stage] > 0:
			millis += total[stage] / count[stage]
		default:
			known = false
		}
	}
	return time.Duration(millis) * time.Millisecond / time.Duration(max(jobs, 1)), known
}

// diskBytes returns what a target writes. seen holds what others write.
func diskBytes(t *Target, parts map[addr.PartID]Part, seen map[string]bool, facts Facts) int64 {
	m := t.Model
	switch t.Addr.Stage { //nolint:exhaustive // the others write graphs, which are small
	case addr.Devkit:
		size := m.tableBytes(m.Params.ContextTokens)
		if m.Config.QuantizeEmbeddings {
			size += m.EmbeddingBytes()
		}
		return size
	case addr.Quantize:
		return 2 * m.encodedBytes(parts[t.Part], seen) // the store's, and the output's, which may not be a link
	case addr.Compile:
		return m.programBytes(parts[t.Part])
	case addr.MPK:
		size := int64(archiveBytes)
		for _, d := range t.Deps {
			// Programs of CACHE are the same for all layers.
			if key := t.Addr.String() + " " + d.Part.Phase.String(); d.Part.Part != addr.Cache || !seen[key] {
				seen[key] = d.Part.Part == addr.Cache
				size += memberBytes + m.programBytes(parts[d.Part])
			}
		}
		return size
	case addr.Package:
		return m.publishedBytes(t, facts)
	}
	return 0
}

// publishedBytes returns what PACKAGE copies for the first time: the
// checkpoint beside the float graphs, and embeddings that are its bytes.
func (m *Model) publishedBytes(t *Target, facts Facts) int64 {
	rec, _, _ := facts.Record(t.Addr)
	there := map[string]bool{}
	if rec.Folder == m.Config.Output {
		for _, p := range rec.Published {
			there[p.Path] = true
		}
	}
	size := int64(0)
	for _, c := range m.Checkpoint.Tensors() {
		if !there["onnx_files/"+c.File] {
			size += c.Length
		}
	}
	if !m.Config.QuantizeEmbeddings && !there["sima_files/devkit/embeddings.bin"] {
		size += m.EmbeddingBytes()
	}
	return size
}

// Of returns the decision on a target of the plan, nil where it is not in it.
func (p *Plan) Of(t *Target) *Decision {
	if p.index == nil {
		p.index = make(map[*Target]int, len(p.Decisions))
		for i := range p.Decisions {
			p.index[p.Decisions[i].Target] = i
		}
	}
	i, ok := p.index[t]
	if !ok {
		return nil
	}
	return &p.Decisions[i]
}

package view

import (
	"cmp"
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// planDocument is what plan --json prints; docs/json.md describes it.
type planDocument struct {
	FormatVersion int              `json:"format_version"`
	Variables     []variableJSON   `json:"variables"`
	Models        []planModelJSON  `json:"models"`
	Targets       []planTargetJSON `json:"targets"`
	Counts        planCounts       `json:"counts"`
	DiskBytes     int64            `json:"disk_bytes"`
	Time          planTime         `json:"time"`
}

type variableJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

type planModelJSON struct {
	Name         string           `json:"name"`
	Source       string           `json:"source"`
	Output       string           `json:"output"`
	Format       string           `json:"format"`
	Architecture string           `json:"architecture"`
	Layers       int              `json:"num_hidden_layers"`
	Context      int              `json:"context_length"`
	Group        int              `json:"language_group_size"`
	Mask         int              `json:"future_token_mask_size"`
	Calibration  *planCalibration `json:"calibration,omitempty"`
	Rules        []planRuleJSON   `json:"rules"`
	Parts        []planPartJSON   `json:"parts"`
	Sizes        planSizes        `json:"sizes"`
}

type planCalibration struct {
	Dataset string `json:"dataset"`
	Where   string `json:"where"`
	Samples int    `json:"samples"`
	Tokens  int    `json:"seq_len"`
	Seed    int    `json:"seed"`
}

type planRuleJSON struct {
	Name        string           `json:"name"`
	Where       string           `json:"where,omitempty"`
	Parts       int              `json:"parts"`
	Compiled    int              `json:"compiled"`
	Precision   config.Precision `json:"precision,omitempty"`
	WeightBytes int64            `json:"weight_bytes"`
}

type planPartJSON struct {
	Part string `json:"part"`
	storedJSON
	Head        *storedJSON `json:"head,omitempty"`
	Compile     bool        `json:"compile"`
	Rule        string      `json:"rule,omitempty"`
	Where       string      `json:"where"`
	WeightBytes int64       `json:"weight_bytes"`
}

// storedJSON says how matrices are stored.
type storedJSON struct {
	Precision config.Precision `json:"precision"`
	GroupSize string           `json:"group_size,omitempty"`
	Method    config.Method    `json:"method,omitempty"`
}

type planSizes struct {
	Size       int64 `json:"size_bytes"`
	BF16Size   int64 `json:"bf16_size_bytes"`
	DRAM       int64 `json:"dram_bytes"`
	Weights    int64 `json:"weight_bytes"`
	Embeddings int64 `json:"embedding_bytes"`
	KVCache    int64 `json:"kv_cache_bytes"`
	Buffers    int64 `json:"buffer_bytes"`
	Archives   int64 `json:"archive_bytes"`
	Board      int64 `json:"board_dram_bytes,omitempty"`
}

type planTargetJSON struct {
	Address string               `json:"address"`
	State   string               `json:"state"`
	Key     fingerprint.Digest   `json:"key,omitempty"`
	With    string               `json:"shared_with,omitempty"`
	Reasons []fingerprint.Reason `json:"reasons"`
}

type planCounts struct {
	Run     int `json:"run"`
	MayRun  int `json:"may_run"`
	Restore int `json:"restore"`
	Fresh   int `json:"fresh"`
}

type planTime struct {
	Wall *int64 `json:"estimated_wall_ms,omitempty"`
}

// PlanJSON prints a plan as a JSON document: models by name, parts in the
// order of the model, targets by address.
func PlanJSON(w io.Writer, p *planner.Plan, o PlanOptions) error {
	doc := planDocument{
		FormatVersion: 1, Variables: []variableJSON{}, Models: []planModelJSON{}, Targets: []planTargetJSON{},
	}
	for _, r := range o.Rooms {
		doc.DiskBytes += r.NeedBytes
	}
	for _, v := range o.Variables {
		doc.Variables = append(doc.Variables, variableJSON{v.Name, v.Value, o.inFolder(v.From)})
	}
	for _, m := range p.Graph.Models {
		doc.Models = append(doc.Models, modelJSON(m, o))
	}
	slices.SortFunc(doc.Models, func(a, b planModelJSON) int { return cmp.Compare(a.Name, b.Name) })
	for i := range p.Decisions {
		d := &p.Decisions[i]
		t := planTargetJSON{Address: d.Target.Addr.String(), State: d.State.String(), Key: d.Key, Reasons: []fingerprint.Reason{}}
		for _, r := range d.Reasons {
			r.Where = o.inFolder(r.Where)
			t.Reasons = append(t.Reasons, r)
		}
		if d.With != nil {
			t.With = d.With.Addr.String()
		}
		doc.Targets = append(doc.Targets, t)
	}
	slices.SortFunc(doc.Targets, func(a, b planTargetJSON) int { return cmp.Compare(a.Address, b.Address) })
	n := p.Count()
	doc.Counts = planCounts{n[planner.Run], n[planner.MayRun], n[planner.Restore], n[planner.Fresh]}
	if wall, known := p.Wall(o.Jobs); known && p.Stale() {
		ms := wall.Milliseconds()
		doc.Time.Wall = &ms
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// inFolder returns a place as it is named in the folder of the configuration,
// so that the document is the same wherever it is printed from. A place may
// stand in brackets behind what decided: "rule x (llima.hcl:3)".
func (o PlanOptions) inFolder(place string) string {
	if o.Folder == "" || o.Folder == "." {
		return place
	}
	before, at, ok := strings.Cut(place, o.Folder+string(filepath.Separator))
	if ok && (before == "" || strings.HasSuffix(before, "(")) {
		return before + at
	}
	return place
}

func modelJSON(m *planner.Model, o PlanOptions) planModelJSON {
	c := m.Config
	j := planModelJSON{
		Name: c.Name, Source: c.SourceText, Output: c.OutputText, Format: m.Properties().Format, Architecture: m.Arch.Architecture,
		Layers: m.Arch.NumHiddenLayers, Context: c.ContextTokens, Group: c.GroupTokens, Mask: c.MaskTokens,
		Rules: []planRuleJSON{}, Parts: []planPartJSON{},
	}
	if k := c.Calibration; len(m.Calibration) > 0 {
		j.Calibration = &planCalibration{k.DatasetText, o.inFolder(k.DatasetRange.String()), k.Samples, k.SampleTokens, k.Seed}
	}
	for _, r := range m.RuleTotals() {
		r.Where = o.inFolder(r.Where)
		j.Rules = append(j.Rules, planRuleJSON(r))
	}
	list := c.Rules.List()
	for _, part := range m.Parts {
		pp := planPartJSON{
			Part: part.ID.String(), storedJSON: storedJSON(m.Stored(&part, false)), Compile: part.Decision.Compile,
			Where: o.inFolder(part.Decision.Where.String()), WeightBytes: part.WeightBytes,
		}
		if head := storedJSON(m.Stored(&part, true)); m.HasHead(part.ID) && head != pp.storedJSON {
			pp.Head = &head
		}
		if part.Decision.Rule >= 0 {
			pp.Rule = list[part.Decision.Rule].Name
		}
		j.Parts = append(j.Parts, pp)
	}
	f := m.Footprint(o.Board)
	j.Sizes = planSizes{
		f.SizeBytes, f.BF16SizeBytes, f.DRAMBytes, f.WeightBytes, f.EmbeddingBytes, f.KVCacheBytes, f.BufferBytes, m.ArchiveBytes(), f.BoardDRAMBytes,
	}
	return j
}

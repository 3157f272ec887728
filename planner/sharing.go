package planner

import (
	"fmt"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// siblings lists the parts of decode whose weights are those of the same part
// in prefill, by the index of both in Parts: both are compiled, in the same
// precision, and the part has weights.
func (m *Model) siblings() map[int]int {
	at := make(map[addr.PartID]int, len(m.Parts))
	for i, p := range m.Parts {
		at[p.ID] = i
	}
	out := map[int]int{}
	for i, p := range m.Parts {
		if p.ID.Phase != addr.Decode || p.ID.Part == addr.Cache || !p.Decision.Compile {
			continue
		}
		id := p.ID
		id.Phase = addr.Prefill
		j, ok := at[id]
		if ok && m.Parts[j].Decision.Compile && m.Parts[j].Decision.Precision == p.Decision.Precision {
			out[i] = j
		}
	}
	return out
}

// Shared returns the parts of decode that find their weights in the program of
// prefill, by ID: none without enable_filter_sharing.
func (m *Model) Shared() map[addr.PartID]bool {
	out := map[addr.PartID]bool{}
	if m.Config.EnableFilterSharing {
		for i := range m.siblings() {
			out[m.Parts[i].ID] = true
		}
	}
	return out
}

// shareFilters makes programs of decode read those of prefill whose weights
// they share.
func (m *Model) shareFilters(programs map[addr.PartID]*Target) {
	if !m.Config.EnableFilterSharing {
		return
	}
	for i, j := range m.siblings() {
		t := programs[m.Parts[i].ID]
		t.Params.Set("enable_filter_sharing", true)
		t.Deps = append(t.Deps, programs[m.Parts[j].ID])
	}
}

// CheckSharing warns where filters are to be shared and no part can.
func (m *Model) CheckSharing() diag.List {
	if !m.Config.EnableFilterSharing || len(m.siblings()) > 0 {
		return nil
	}
	r := m.Config.Decl
	return diag.List{{
		Severity: diag.Warning, Summary: "enable_filter_sharing has no effect", Subject: &r,
		Detail: fmt.Sprintf("Prefill and decode share weights where a part has the same precision in both. In model %q none has, so each keeps its own.", m.Config.Name),
	}}
}

package config_test

import (
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// TestCheckSizes holds that the fix names lengths that fit.
func TestCheckSizes(t *testing.T) {
	for _, c := range []struct {
		context, group, mask int
		want                 []string
	}{
		{1024, 128, 128, nil},
		{1000, 128, 200, []string{"896 and 1024"}},
		{1000, 300, 128, []string{"900 and 1200", "896 and 1024"}},
		{100, 128, 50, []string{"nearest context_length that fits is 128"}},
	} {
		m := &config.Model{Name: "a", ContextTokens: c.context, GroupTokens: c.group, MaskTokens: c.mask}
		l := m.CheckSizes()
		if len(l) != len(c.want) {
			t.Errorf("CheckSizes(%+v) = %v", c, l)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(l[i].Detail, want) {
				t.Errorf("CheckSizes(%+v) = %s, want %s", c, l[i].Detail, want)
			}
		}
	}
}

// TestCheckContext holds that a long context is a warning, not an error.
func TestCheckContext(t *testing.T) {
	m := &config.Model{Name: "a", ContextTokens: 4096}
	for limit, want := range map[int]int{0: 0, 4096: 0, 8192: 0, 2048: 1} {
		if l := m.CheckContext(limit); len(l) != want || l.HasErrors() || want == 1 && l[0].Severity != diag.Warning {
			t.Errorf("CheckContext(%d) = %v, want %d warnings", limit, l, want)
		}
	}
}

// TestIsGroup holds that the vision tower handles no group of tokens.
func TestIsGroup(t *testing.T) {
	for id, want := range map[addr.PartID]bool{
		{Phase: addr.Prefill, Part: addr.Pre}: true, {Phase: addr.Decode, Part: addr.Pre}: false, {Part: addr.Vision}: false,
	} {
		if got := (config.Layer{PartID: id}).IsGroup(); got != want {
			t.Errorf("IsGroup(%s) = %v, want %v", id, got, want)
		}
	}
}

package load_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// parts lists every part of a text model with the given number of layers.
func parts(layers int) []addr.PartID {
	var out []addr.PartID
	for index := range layers {
		for _, phase := range addr.Phases {
			for _, part := range []addr.Part{addr.Pre, addr.Cache, addr.Post} {
				out = append(out, addr.PartID{Phase: phase, Part: part, Index: index})
			}
		}
	}
	return out
}

func mustLoad(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, diags := load.Source("llima.hcl", []byte(text), load.Options{})
	if len(diags) > 0 {
		t.Fatalf("Source: %v", diags)
	}
	return cfg
}

const ruled = `
policy "mixed" {
  layer "prefill" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
  layer "decode" {
    precision = layer.from_end == 1 ? "BF16" : "A_BF16_W_INT4"
  }
}

model "a" {
  source    = "x"
  precision = "A_BF16_W_INT4"
  policies  = [policy.mixed]
  layer "drop" {
    when    = layer.part == "CACHE" && layer.index > 2
    compile = false
  }
  layer "early" {
    when      = layer.index < 1
    precision = "BF16"
  }
}

model "plain" {
  source = "x"
}
`

// TestDecide holds that the first match decides everything.
func TestDecide(t *testing.T) {
	cfg := mustLoad(t, ruled)
	props := config.Properties{NumHiddenLayers: 4, Architecture: "llama", Format: "hf"}
	for _, c := range []struct{ model, part, want string }{
		{"a", "prefill.PRE.0", "BF16 true early llima.hcl:22"},
		{"a", "prefill.CACHE.3", "A_BF16_W_INT4 false drop llima.hcl:16"}, // unset: the model's default
		{"a", "prefill.POST.1", "A_BF16_W_INT8 true prefill llima.hcl:5"},
		{"a", "decode.POST.1", "A_BF16_W_INT4 true decode llima.hcl:8"},
		{"a", "decode.POST.3", "BF16 true decode llima.hcl:8"},
		{"plain", "decode.POST.3", "BF16 true - llima.hcl:26"},
	} {
		id, err := addr.ParsePartID(c.part)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range cfg.Models {
			if m.Name != c.model {
				continue
			}
			d, diags := m.Rules.Decide(props, config.Layer{PartID: id, FromEnd: 4 - id.Index})
			rule := "-"
			if d.Rule >= 0 {
				rule = m.Rules.List()[d.Rule].Name
			}
			if got := fmt.Sprintf("%s %v %s %s", d.Precision, d.Compile, rule, d.Where); got != c.want || diags != nil {
				t.Errorf("Decide(%s, %s) = %s %v, want %s", c.model, c.part, got, diags, c.want)
			}
		}
	}
	for _, m := range cfg.Models {
		if l := lang.CheckRules(m, props, parts(4)); len(l) > 0 {
			t.Errorf("CheckRules(%s) = %v, want none", m.Name, l)
		}
	}
}

// TestVisionAndConv holds what rules see of parts that are not PRE, CACHE or POST.
func TestVisionAndConv(t *testing.T) {
	cfg := mustLoad(t, `
model "a" {
  source = "x"
  layer "vision" {
    when = layer.part == "VISION" && !layer.is_group && layer.phase == "prefill"
    precision = "A_BF16_W_INT8"
  }
  layer "pre" {
    when = layer.part == "PRE"
    precision = "A_BF16_W_INT4"
  }
}`)
	for id, want := range map[addr.PartID]config.Precision{
		{Part: addr.Vision}: config.INT8, {Part: addr.Conv}: config.INT4, {Part: addr.Post}: config.BF16,
	} {
		if d, l := cfg.Models[0].Rules.Decide(config.Properties{NumHiddenLayers: 1}, config.Layer{PartID: id, FromEnd: 1}); d.Precision != want || l != nil {
			t.Errorf("Decide(%s) = %s %v, want %s", id, d.Precision, l, want)
		}
	}
}

// TestCheckRules holds what is found once the layers are known.
func TestCheckRules(t *testing.T) {
	model := func(rules string) string { return "model \"a\" {\n  source = \"x\"\n" + rules + "\n}\n" }
	for name, c := range map[string]struct {
		text string
		want string // summaries and lines
	}{
		"never": {model(`layer "late" { when = layer.index > 20 }`), "warning 3 Rule never matches"},
		"never in text": {
			`policy "p" {
  layer "vision" { when = layer.part == "VISION" }
}
model "a" {
  source   = "x"
  policies = [policy.p]
}`, "note 2 Rule never matches",
		},
		"shadowed": {model(`layer "all" {}
layer "early" { when = layer.index < 2 }`), "warning 4 Rule is shadowed"},
		"shadowed by two": {model(`layer "group" { when = layer.is_group }
layer "single" { when = !layer.is_group }
layer "rest" {}`), "warning 5 Rule is shadowed"},
		"shadowed policy": {`policy "p" {
  layer "all" {}
}
model "a" {
  source   = "x"
  policies = [policy.p]
  layer "own" {}
}`, "warning 2 Rule is shadowed"},
		"fine":     {model(`layer "a" { when = layer.index < 2 }` + "\n" + `layer "b" { when = layer.index < 3 }`), ""},
		"fails":    {model(`layer "a" { when = [true, false][layer.index] }`), "error 3 Invalid index"},
		"null":     {model(`layer "a" { when = [true, null][layer.index < 2 ? 0 : 1] }`), "error 3 Invalid value for when"},
		"computed": {model(`layer "a" { precision = "A_BF16_W_INT${layer.index}" }`), "error 3 Invalid value for precision"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, diags := load.Source("llima.hcl", []byte(c.text), load.Options{})
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			var got []string
			found := lang.CheckRules(cfg.Models[0], config.Properties{NumHiddenLayers: 4, Format: "hf"}, parts(4))
			for _, d := range found {
				s := fmt.Sprintf("%s %d %s", d.Severity, d.Subject.Start.Line, d.Summary)
				if len(got) == 0 || got[len(got)-1] != s {
					got = append(got, s)
				}
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("CheckRules = %v, want %q", found, c.want)
			}
		})
	}
}

// TestCheckRulesTells holds the whole text of a finding.
func TestCheckRulesTells(t *testing.T) {
	cfg := mustLoad(t, `
model "a" {
  source = "x"
  layer "group" { when = layer.is_group }
  layer "single" { when = !layer.is_group }
  layer "rest" { when = layer.index == 1 }
}`)
	l := lang.CheckRules(cfg.Models[0], config.Properties{NumHiddenLayers: 4}, parts(4))
	want := `Rule "rest" of model "a" matches 6 of its parts, and earlier rules decide on all of them: "group" (llima.hcl:4, 3 parts) and "single" (llima.hcl:5, 3 parts). The first match decides everything; move the narrower rule up, or remove this one.`
	if len(l) != 1 || l[0].Detail != want {
		t.Errorf("CheckRules = %v, want %s", l, want)
	}
	_, diags := cfg.Models[0].Rules.Decide(config.Properties{}, config.Layer{})
	if diags != nil {
		t.Errorf("Decide = %v", diags)
	}
	gguf := lang.CheckRules(mustLoad(t, ruled).Models[0], config.Properties{NumHiddenLayers: 4, Format: "gguf"}, parts(4))
	if !gguf.HasErrors() || !strings.Contains(gguf.Error(), "quantised already") {
		t.Errorf("CheckRules of a GGUF file = %v, want an error", gguf)
	}
}

// TestValues holds what a failing rule says of its variables.
func TestValues(t *testing.T) {
	cfg := mustLoad(t, `
model "a" {
  source = "x"
  layer "a" { when = [true, false][layer.index] }
}`)
	_, diags := cfg.Models[0].Rules.Decide(config.Properties{}, config.Layer{PartID: addr.PartID{Index: 3}})
	var d diag.Diagnostic
	if len(diags) == 1 {
		d = diags[0]
	}
	if len(d.Values) != 1 || d.Values[0] != "layer.index as 3" {
		t.Errorf("Decide = %+v, want values [layer.index as 3]", diags)
	}
}

// TestCheckRulesAlone holds what is found without a checkpoint, and that it is
// found with each checkpoint too.
func TestCheckRulesAlone(t *testing.T) {
	model := func(rules string) string { return "model \"a\" {\n  source = \"x\"\n" + rules + "\n}\n" }
	for name, c := range map[string]struct{ text, want string }{
		"contradiction":   {model(`layer "r" { when = layer.part == "CACHE" && layer.part == "PRE" }`), "3 Rule never matches"},
		"vision":          {model(`layer "r" { when = layer.part == "VISION" && layer.is_group }`), "3 Rule never matches"},
		"vision layer":    {model(`layer "r" { when = layer.part == "VISION" && layer.index > 0 }`), "3 Rule never matches"},
		"below zero":      {model(`layer "r" { when = layer.index < 0 }`), "3 Rule never matches"},
		"from end":        {model(`layer "r" { when = layer.from_end <= 0 }`), "3 Rule never matches"},
		"from end turned": {model(`layer "r" { when = 1 > layer.from_end }`), "3 Rule never matches"},
		"false":           {model(`layer "r" { when = false }`), "3 Rule never matches"},
		"all":             {model("layer \"r\" {}\nlayer \"s\" { when = layer.index == 2 }"), "4 Rule is shadowed"},
		"all by range":    {model("layer \"r\" { when = layer.index >= 0 }\nlayer \"s\" {}"), "4 Rule is shadowed"},
		"all by two":      {model("layer \"r\" { when = layer.is_group }\nlayer \"s\" { when = !layer.is_group }\nlayer \"t\" {}"), "5 Rule is shadowed"},
		"possible":        {model("layer \"r\" { when = layer.index <= 0 }\nlayer \"s\" { when = layer.from_end < 2 }\nlayer \"t\" { when = model.num_hidden_layers > 1 }\nlayer \"u\" {}"), ""},
		"part of kinds":   {model("layer \"r\" { when = layer.part == \"PRE\" }\nlayer \"s\" { when = layer.part != \"POST\" }"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := mustLoad(t, c.text).Models[0]
			var got []string
			for _, d := range lang.CheckRulesAlone(m) {
				got = append(got, fmt.Sprintf("%d %s", d.Subject.Start.Line, d.Summary))
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("CheckRulesAlone = %q, want %q", got, c.want)
			}
			alsoFound(t, m)
		})
	}
}

// alsoFound fails where CheckRulesAlone finds a rule idle that decides on some
// part of a checkpoint.
func alsoFound(t *testing.T, m *config.Model) {
	t.Helper()
	for _, layers := range []int{1, 2, 5} {
		ids := append(parts(layers), addr.PartID{Part: addr.Vision})
		wins := map[string]bool{}
		for _, id := range ids {
			layer := config.Layer{PartID: id, FromEnd: layers - id.Index}
			if d, diags := m.Rules.Decide(config.Properties{NumHiddenLayers: layers, Architecture: "llama", Format: "hf"}, layer); d.Rule >= 0 && !diags.HasErrors() {
				wins[m.Rules.List()[d.Rule].Range.String()] = true
			}
		}
		for _, d := range lang.CheckRulesAlone(m) {
			var idle config.Rule // the last one that begins at or before the finding
			for _, r := range m.Rules.List() {
				if r.Range.Start.Byte <= d.Subject.Start.Byte && r.Range.Start.Byte >= idle.Range.Start.Byte {
					idle = r
				}
			}
			if wins[idle.Range.String()] {
				t.Errorf("%s: rule %q decides on a part of a model with %d layers", d.Summary, idle.Name, layers)
			}
		}
	}
}

package load_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/load"
)

const blocks = `
locals {
  gib = bytes("1GiB")
}

backend "modalix" {
  board = "modalix-16gb"
}

executor {
  jobs       = 3
  keep_going = true
  max_memory = 2 * local.gib
}

cache {
  dir      = "../store"
  max_size = "1.5 GiB"
  mode     = "read"
}

model "a" {
  matrix = { ctx = [1024, 2048], kind = ["x"] }
  source = "checkpoint"

  vision {
    height = 448
    width  = 336
  }
  calibration {
    dataset = "text.txt"
    seed    = 7
  }
  quantization {
    group_size = { A_BF16_W_INT4 = 64, A_BF16_W_INT8 = "channel" }
    method     = "calibrated"
    head       = "BF16"
  }
  budget {
    max_size  = plan.bf16_size / 3
    max_dram  = each.value.ctx == 1024 ? "2GiB" : plan.board_dram
    on_exceed = plan.dram > local.gib ? "error" : "warning"
  }
}

model "lora" {
  source                = "checkpoint"
  enable_filter_sharing = true
  lora                  = "LORA_BRANCH"
  adapter "one" { path = "adapters/one" }
  adapter "set" {
    for_each = { x = "adapters/x", y = "../y" }
    path     = each.value
  }
}

eval "ppl" {
  model     = model.a
  dataset   = "eval.txt"
  metric    = "perplexity"
  max_delta = plan.size < local.gib ? 0.5 : 0.25
}

eval "kl" {
  model   = model.a["2048-x"]
  dataset = "eval.txt"
  metric  = "kl"
}
`

// TestBlocks holds that what blocks say arrives typed, with defaults.
func TestBlocks(t *testing.T) {
	cfg := mustLoad(t, blocks)
	if got := cfg.Backend; got.Name != "modalix" || got.Board != "modalix-16gb" || got.BoardRange.String() != "llima.hcl:7" {
		t.Errorf("Backend = %+v", got)
	}
	if got, want := cfg.Executor, (config.Executor{Jobs: 3, KeepGoing: true, MaxMemoryBytes: 2 << 30}); got != want {
		t.Errorf("Executor = %+v, want %+v", got, want)
	}
	if got, want := cfg.Cache, (config.Cache{Dir: filepath.Join(filepath.Dir(cfg.Root), "store"), MaxSizeBytes: 3 << 29, Mode: "read"}); got != want {
		t.Errorf("Cache = %+v, want %+v", got, want)
	}
	a := cfg.Models[0]
	if v := a.Vision; a.Name != "a-1024-x" || v.Height != 448 || v.Width != 336 {
		t.Errorf("Vision of %s = %+v", a.Name, v)
	}
	if c := a.Calibration; c.Dataset != filepath.Join(cfg.Root, "text.txt") || c.Samples != 128 || c.SampleTokens != 512 || c.Seed != 7 || c.Method != "sequential" {
		t.Errorf("Calibration = %+v", c)
	}
	q := a.Quantization
	if !maps.Equal(q.GroupSize, map[config.Precision]int{config.INT4: 64, config.INT8: config.PerChannel}) ||
		!maps.Equal(q.Method, map[config.Precision]config.Method{config.INT4: config.Calibrated, config.INT8: config.Calibrated}) || q.Head != config.BF16 {
		t.Errorf("Quantization = %+v", q)
	}
	lora := cfg.Models[2]
	var adapters []string
	for _, ad := range lora.Adapters {
		rel, err := filepath.Rel(cfg.Root, ad.Path)
		if err != nil {
			t.Fatal(err)
		}
		adapters = append(adapters, ad.Name+" "+filepath.ToSlash(rel))
	}
	if want := []string{"one adapters/one", "set-x adapters/x", "set-y ../y"}; !slices.Equal(adapters, want) {
		t.Errorf("Adapters = %q, want %q", adapters, want)
	}
	if lora.Budget != nil || lora.Vision != nil || lora.Calibration != nil || lora.Quantization != nil {
		t.Errorf("absent blocks of %s are not nil", lora.Name)
	}
}

// TestBudget holds that limits are evaluated against the estimate.
func TestBudget(t *testing.T) {
	cfg := mustLoad(t, blocks)
	f := config.Footprint{BF16SizeBytes: 1000, DRAMBytes: 5 << 30, BoardDRAMBytes: 16 << 30}
	for i, want := range []int64{2 << 30, 16 << 30} {
		got, diags := cfg.Models[i].Budget.Limits(f)
		if diags != nil || got.MaxSizeBytes != 333 || got.MaxDRAMBytes != want || got.OnExceed != "error" || got.MaxDRAMRange.Start.Line != 41 {
			t.Errorf("Limits of %s = %+v, %v, want max_dram %d", cfg.Models[i].Name, got, diags, want)
		}
	}
	if got, _ := cfg.Models[0].Budget.Limits(config.Footprint{BF16SizeBytes: 1000}); got.OnExceed != "warning" {
		t.Errorf("OnExceed = %q, want warning", got.OnExceed)
	}
	_, diags := cfg.Models[1].Budget.Limits(config.Footprint{BF16SizeBytes: 3000}) // without a board
	if !diags.HasErrors() || diags[0].Block != `model "a", budget` || !slices.Contains(diags[0].Values, "plan.board_dram as 0") {
		t.Errorf("Limits without a board = %+v", diags)
	}
}

// TestEvals holds which models an eval names, and its gate.
func TestEvals(t *testing.T) {
	cfg := mustLoad(t, blocks)
	if got := cfg.Evals[0]; !slices.Equal(got.Models, []string{"a-1024-x", "a-2048-x"}) || got.Metric != "perplexity" || got.Dataset != filepath.Join(cfg.Root, "eval.txt") {
		t.Errorf("Evals[0] = %+v", got)
	}
	if got := cfg.Evals[1].Models; !slices.Equal(got, []string{"a-2048-x"}) {
		t.Errorf("Evals[1].Models = %q", got)
	}
	if d, diags := cfg.Evals[0].Gate.MaxDelta(config.Footprint{SizeBytes: 2 << 30}); d.Value != 0.25 || !d.Given || d.Range.Start.Line == 0 || diags != nil {
		t.Errorf("MaxDelta = %+v %v, want 0.25", d, diags)
	}
	if d, diags := cfg.Evals[1].Gate.MaxDelta(config.Footprint{}); d.Given || diags != nil {
		t.Errorf("MaxDelta of a gate without one = %+v %v", d, diags)
	}
}

// TestDefaultBlocks holds what a file without these blocks means.
func TestDefaultBlocks(t *testing.T) {
	cfg := mustLoad(t, `model "a" { source = "x" }`)
	if cfg.Backend.Name != "modalix" || cfg.Executor != (config.Executor{}) || cfg.Cache != (config.Cache{Mode: "read_write"}) || cfg.Unsupported != nil {
		t.Errorf("Source = %+v", cfg)
	}
}

// TestAdapterWithoutLoRA holds that an adapter that nothing takes is a warning.
func TestAdapterWithoutLoRA(t *testing.T) {
	_, diags := load.Source("llima.hcl", []byte(`
model "a" {
  source = "x"
  adapter "one" { path = "adapters/one" }
}`), load.Options{})
	if len(diags) != 1 || diags.HasErrors() || !strings.Contains(diags[0].Detail, "enable_filter_sharing = true") {
		t.Errorf("Source = %v, want one warning with the fix", diags)
	}
}

package config

import (
	"fmt"

	"github.com/llima-build/llima/internal/diag"
)

// Backend says for what programs are compiled. It is part of the fingerprint.
type Backend struct {
	Name  string // "modalix", also where the file has no backend block
	Board string // a name of Boards, "" where the file does not say
	Decl  diag.Range
	// BoardRange is of the attribute, or of the block where it is absent.
	BoardRange diag.Range
}

// Board is a board that programs can be built for.
type Board struct {
	Name string
	// DRAMBytes is the memory that programs, weights and caches share.
	DRAMBytes int64
}

// Boards are the boards of the vendor's public pages: PCIe cards with 16 and
// 32 GB, and the DevKit, of whose 32 GB the accelerator has 16.
var Boards = []Board{
	{"modalix-16gb", 16 << 30},
	{"modalix-32gb", 32 << 30},
	{"modalix-devkit", 16 << 30},
}

// BoardNamed returns the board called name.
func BoardNamed(name string) (Board, bool) {
	for _, b := range Boards {
		if b.Name == name {
			return b, true
		}
	}
	return Board{}, false
}

// Executor is how builds run. What the command line says goes first; nothing
// of it is part of a fingerprint.
type Executor struct {
	Jobs           int   // targets at once, 0 where the file does not say
	KeepGoing      bool  // build what does not depend on a failed target
	MaxMemoryBytes int64 // of the targets that run at once, 0 for no limit
	Remote         string
}

// Cache is where results are kept; nothing of it is part of a fingerprint.
type Cache struct {
	Dir          string // absolute folder of the store, "" for .llima beside the file
	MaxSizeBytes int64  // of what is kept, 0 for no limit
	Mode         string // "read_write", or "read": use what is there, keep nothing new
}

// Adapter is an adapter block of a model, or one expansion of it.
type Adapter struct {
	Name     string // unique within its model
	Path     string // absolute folder
	PathText string // as written
	Decl     diag.Range
}

// Vision is the size of images, in pixels; 0 where the file does not say.
type Vision struct {
	Height, Width int
	Decl          diag.Range
}

// Self as the dataset of a calibration is text that the model itself writes.
const Self = "self"

// Calibration says what data a quantiser looks at.
type Calibration struct {
	Dataset      string // absolute path, or Self
	DatasetText  string // as written
	Samples      int
	SampleTokens int // seq_len
	Seed         int
	Method       string // "sequential"
	Decl         diag.Range
	DatasetRange diag.Range
	Ranges       map[string]diag.Range // of the attributes that are there
}

// Range is where an attribute stands, or the block where it is absent.
func (c *Calibration) Range(attribute string) diag.Range {
	if r, ok := c.Ranges[attribute]; ok {
		return r
	}
	return c.Decl
}

// PerChannel is the group size of weights with one scale per output channel.
const PerChannel = 0

// Quantization overrides how weights are quantised. What it leaves out is not
// in the maps.
type Quantization struct {
	GroupSize map[Precision]int    // weights that share a scale, or PerChannel
	Method    map[Precision]Method //
	Head      Precision            // of the output head, "" where the file does not say
	Decl      diag.Range
	// Of the attributes, or of the block where they are absent.
	GroupSizeRange, MethodRange, HeadRange diag.Range
}

// Method is how codes and scales of a matrix are chosen.
type Method string

// The methods. The first two look at weights alone.
const (
	Nearest    Method = "nearest"    // scales by the greatest magnitude, codes by rounding
	Search     Method = "search"     // scales of the least squared error
	Calibrated Method = "calibrated" // by what flows through the model for some text
)

// Methods lists every method, the quickest first.
var Methods = []Method{Nearest, Search, Calibrated}

// CheckQuantisable refuses blocks about quantising where the checkpoint's
// weights are quantised already; format is "gguf" or "compressed_tensors" then.
func (m *Model) CheckQuantisable(format string) diag.List {
	if format != "gguf" && format != "compressed_tensors" {
		return nil
	}
	var out diag.List
	refuse := func(block string, at diag.Range) {
		out = append(out, diag.Diagnostic{
			Severity: diag.Error, Summary: "Weights are quantised already", Subject: &at,
			Detail: fmt.Sprintf("The weights of model %q come quantised from its source, and are taken over as they are: a %s block has nothing to decide. Remove the block, or name as source the checkpoint in BF16 that %s was made from.",
				m.Name, block, m.SourceText),
		})
	}
	if m.Quantization != nil {
		refuse("quantization", m.Quantization.Decl)
	}
	if m.Calibration != nil {
		refuse("calibration", m.Calibration.Decl)
	}
	return out
}

// Footprint is what budget and eval blocks see as "plan": what a model is
// estimated to take, in bytes.
type Footprint struct {
	SizeBytes       int64 // of the output: programs, weights, embeddings
	BF16SizeBytes   int64 // of the output if every weight were BF16
	DRAMBytes       int64 // on the device: the four below
	WeightBytes     int64
	EmbeddingBytes  int64
	KVCacheBytes    int64
	BufferBytes     int64
	BoardDRAMBytes  int64 // of the board, 0 where no board is named
	ContextTokens   int
	NumHiddenLayers int
}

// Budget bounds what a model may take. Its limits may depend on the estimate,
// so they are evaluated once that is there.
type Budget interface {
	// Limits evaluates the limits for a model that takes f.
	Limits(f Footprint) (Limits, diag.List)
}

// Limits are evaluated limits of a model.
type Limits struct {
	MaxSizeBytes, MaxDRAMBytes int64  // 0 for no limit
	OnExceed                   string // "error", "warning"
	MaxSizeRange, MaxDRAMRange diag.Range
}

// Eval is an eval block.
type Eval struct {
	Name         string
	Models       []string // the model that it names, or every expansion of the block
	Dataset      string   // absolute path
	DatasetText  string   // as written
	DatasetRange diag.Range
	Metric       string // "perplexity", "kl"
	Gate         Gate
	Decl         diag.Range
}

// Gate is how far a model may be from its BF16 reference.
type Gate interface {
	// MaxDelta evaluates the bound for a model that takes f.
	MaxDelta(f Footprint) (MaxDelta, diag.List)
}

// MaxDelta is an evaluated bound of an eval block.
type MaxDelta struct {
	Given bool    // false where the file states none
	Value float64 // in the metric's own unit: perplexity, or nats
	Range diag.Range
}

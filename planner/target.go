package planner

import (
	"slices"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Target is a node of the build graph: what a stage makes, and everything
// that it reads to make it.
type Target struct {
	Addr    addr.Target
	Version int // of the stage
	Params  fingerprint.Params
	Where   map[string]string // file:line that set a parameter; not hashed
	Force   bool              // run even where nothing has changed
	Sources []Source          // from outside the build
	Deps    []*Target         // whose outputs it reads
	// Picks names the outputs that it reads of a dependency, where it does not
	// read all of them.
	Picks map[*Target][]string
	Model *Model
	Part  addr.PartID // for targets of one part
}

// Reads reports whether a target reads an output of a dependency.
func (t *Target) Reads(from *Target, output string) bool {
	names, some := t.Picks[from]
	return !some || slices.Contains(names, output)
}

// SourceKind says what of a file a source is.
type SourceKind uint8

// The kinds of sources.
const (
	WholeFile  SourceKind = iota
	FileTensor            // a tensor's bytes
	Shard                 // a file of weights by its header and tensors
	Header                // what comes before the tensors of a file of weights
)

// Source is something from outside that a target reads.
type Source struct {
	Name   string // by which the key knows it, "tensor/model.norm.weight"
	Path   string // absolute
	Kind   SourceKind
	Offset int64 // of a tensor, bytes
	Length int64
}

// Model is a model block with what its checkpoint says.
type Model struct {
	Config     *config.Model
	Arch       *arch.Config
	Params     arch.Params
	Format     string        // of the source, "hf"
	Checkpoint *source.Model // nil where only the configuration was read
	Parts      []Part
	Targets    []*Target // in the order of the pipeline
	// Calibration is the targets that quantise by data: that of the dataset,
	// that of gradients, then those of the layers.
	Calibration []*Target

	sizes   map[sizeClass]int64
	tensors map[addr.PartID][]arch.TensorShape
}

// Part is one part with what the rules say of it.
type Part struct {
	ID          addr.PartID
	Decision    config.Decision
	WeightBytes int64 // of its weights and constants, in its program
	FloatBytes  int64 // the same with weights in BF16
}

// Output is a file that a target made. One that is a tensor of the checkpoint
// byte for byte is not stored: Tensor names it.
type Output struct {
	Name   string             `json:"name"`
	Digest fingerprint.Digest `json:"digest"`
	Size   int64              `json:"size"`
	Tensor string             `json:"tensor,omitempty"`
}

// Published is a file of the output folder, as PACKAGE left it.
type Published struct {
	Path   string             // relative to the output folder, slashes
	Digest fingerprint.Digest // of the file; empty while it is not known whether it was written
	Source fingerprint.Digest // of what it was made from
}

// Record is what is remembered of a target's last build. What was made under
// its key is asked of [Facts].
type Record struct {
	Addr       string
	Key        fingerprint.Digest // empty: begun, not finished
	Folder     string             // into which files were published, as the model's Output
	Published  []Published        // by path
	WallMillis int64
}

// State says what a build would do with a target.
type State uint8

// The states.
const (
	Fresh   State = iota // nothing to do
	Restore              // made under this key before, or by then: nothing runs
	Run                  // has to run
	MayRun               // depends on what an upstream target makes
)

// String returns "fresh", "restore", "run" or "may run".
func (s State) String() string {
	switch s {
	case Fresh:
		return "fresh"
	case Restore:
		return "restore"
	case Run:
		return "run"
	case MayRun:
		return "may run"
	}
	return "unknown"
}

// Decision is what Decide says of a target.
type Decision struct {
	Target   *Target
	State    State
	Reasons  []fingerprint.Reason
	Key      fingerprint.Digest // empty where inputs are not known yet
	Preimage fingerprint.Preimage
	Outputs  []Output // for Fresh and Restore
	With     *Target  // of a plan: the target that makes it first, where Restore waits for one
	// LastMillis is how long the last run took, 0 where that is not known.
	LastMillis int64
}

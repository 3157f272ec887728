package planner

import (
	"slices"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant"
)

// What programs and archives take beside weights and constants, in bytes.
const (
	// programPages is a program's header, code and symbols, in whole pages:
	// 11.9 to 12.9 KiB in every program of bard-3m that has weights.
	programPages = 12 << 10
	// cachePages is the same of a CACHE program: 5.4 to 5.7 KiB.
	cachePages = 5632
	// archiveBytes and memberBytes are what an archive adds, and each program in
	// it: headers, padding, and its share of the manifest.
	archiveBytes = 3200
	memberBytes  = 1950

	panelRows   = 16 // outputs that lie together in a program (docs/isa.md §4)
	bufferAlign = 64 // of buffers and constants
	padUnit     = 32 // of which tokens and dims of a head in the cache, and inputs of a matrix, are a multiple
	topTokens   = 64 // candidates that the last POST returns without logits
)

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// sizeClass is what the size of a part's weights depends on.
type sizeClass struct {
	part      addr.Part
	last      bool
	precision config.Precision
}

// Tensors lists what a part reads of the checkpoint, in the order in which its
// graph does; both phases read the same. It remembers them, as finding them
// takes building the graph.
func (m *Model) Tensors(id addr.PartID) []arch.TensorShape {
	id.Phase = addr.Prefill
	list, ok := m.tensors[id]
	if !ok {
		if m.tensors == nil {
			m.tensors = map[addr.PartID][]arch.TensorShape{}
		}
		list = m.Arch.Tensors(id)
		m.tensors[id] = list
	}
	return list
}

// tensorNames lists the names of what a part reads.
func (m *Model) tensorNames(id addr.PartID) []string {
	var out []string
	for _, t := range m.Tensors(id) {
		out = append(out, t.Name)
	}
	return out
}

// weightBytes returns what the weights and constants of a part take in its
// program, in a precision; ck, which may be nil, is where matrices come from
// that are carried over as codes.
func (m *Model) weightBytes(id addr.PartID, precision config.Precision, ck *source.Model) int64 {
	class := sizeClass{id.Part, id.Index == m.Arch.NumHiddenLayers-1, precision}
	if n, ok := m.sizes[class]; ok && ck == nil {
		return n
	}
	var weights, consts int64
	for _, t := range m.Tensors(id) {
		shape := t.Shape
		if len(shape) != 2 {
			elements := int64(1)
			for _, n := range shape {
				elements *= int64(n)
			}
			consts += align(4*elements, bufferAlign) // float32
			continue
		}
		rows, cols := int(align(int64(shape[0]), panelRows)), int(align(int64(shape[1]), padUnit))
		if coding, ok := codingOf(ck, t.Name); ok {
			l := quant.LayoutOf(coding, rows, cols)
			weights += l.CodeBytes + l.ScaleBytes + l.OffsetBytes
			continue
		}
		f := FormatOf(m.Config, precision, t.Name == m.Arch.HeadName())
		weights += f.CodeBytes(rows, cols) + 2*int64(rows)*int64(f.Groups(cols))
	}
	n := align(weights, bufferAlign) + consts
	if ck != nil {
		return n
	}
	if m.sizes == nil {
		m.sizes = map[sizeClass]int64{}
	}
	m.sizes[class] = n
	return n
}

// EmbeddingCoding returns how the table of embeddings is held as codes; ok is
// false where it is BF16. The source's own codes stay.
func (m *Model) EmbeddingCoding() (c tensor.Coding, ok bool) {
	if c, ok = codingOf(m.Checkpoint, m.Arch.EmbeddingName()); ok {
		return c, true
	}
	return tensor.Coding{Codes: tensor.Int8, Scale: tensor.BF16}, m.Config.QuantizeEmbeddings
}

// EmbeddingBytes returns the size of the table of embeddings.
func (m *Model) EmbeddingBytes() int64 {
	c, ok := m.EmbeddingCoding()
	if !ok {
		return int64(m.Arch.VocabSize) * int64(m.Arch.HiddenSize) * 2
	}
	t := tensor.Table{Coding: c, Rows: m.Arch.VocabSize, Cols: m.Arch.HiddenSize}
	return t.SizeBytes()
}

// tableBytes returns the size of the RoPE tables for a context.
func (m *Model) tableBytes(contextTokens int) int64 {
	return 2 * 4 * int64(contextTokens) * int64(m.Arch.RotaryDim/2) * int64(len(m.Arch.Ropes))
}

// KVCacheBytes returns the size of the KV cache of all layers for a context.
func (m *Model) KVCacheBytes(contextTokens int) int64 {
	a := m.Arch
	layers := int64(0)
	for _, l := range a.Layers {
		if !l.Conv {
			layers++
		}
	}
	tokens := align(int64(contextTokens), padUnit)
	return 2 * 2 * layers * tokens * int64(a.NumKeyValueHeads) * align(int64(a.HeadDim), padUnit)
}

// BufferBytes returns what the host binds to programs: the largest inputs and
// the largest outputs, as one program runs at a time, and room for a residual
// that waits in memory, which programs need where a group is large.
func (m *Model) BufferBytes() int64 {
	a, rows := m.Arch, int64(m.Params.GroupTokens)
	buffer := func(bytesPerRow int64) int64 { return align(rows*bytesPerRow, bufferAlign) }
	hidden, attention := buffer(4*int64(a.HiddenSize)), buffer(2*int64(a.NumAttentionHeads)*align(int64(a.HeadDim), padUnit))
	rope := buffer(4 * int64(a.RotaryDim))
	head, lastRow := int64(min(topTokens, a.VocabSize))*8, int64(bufferAlign)
	if m.Params.ReturnLogits {
		head, lastRow = buffer(4*int64(a.VocabSize)), 0
	}
	in := max(hidden+rope+buffer(4), attention+buffer(8), attention+hidden+lastRow)
	return in + max(hidden, attention, head) + hidden
}

// Footprint returns what the model is estimated to take on a board, whose
// name may be "".
func (m *Model) Footprint(board config.Board) config.Footprint {
	f := m.footprint(m.Params.ContextTokens, func(p Part) config.Precision { return p.Decision.Precision }, m.carried())
	f.BoardDRAMBytes = board.DRAMBytes
	f.BF16SizeBytes = m.BF16Footprint().SizeBytes
	return f
}

// BF16Footprint returns what the model would take with all weights in BF16.
func (m *Model) BF16Footprint() config.Footprint {
	return m.footprint(m.Params.ContextTokens, func(Part) config.Precision { return config.BF16 }, nil)
}

// footprint is the estimate for another context or other precisions, with
// matrices as ck holds them where it holds codes.
func (m *Model) footprint(contextTokens int, precision func(Part) config.Precision, ck *source.Model) config.Footprint {
	f := config.Footprint{
		EmbeddingBytes: m.EmbeddingBytes(), KVCacheBytes: m.KVCacheBytes(contextTokens), BufferBytes: m.BufferBytes(),
		ContextTokens: contextTokens, NumHiddenLayers: m.Arch.NumHiddenLayers,
	}
	programs := int64(0)
	precisions := map[addr.PartID]config.Precision{}
	for _, p := range m.Parts {
		if !p.Decision.Compile {
			continue
		}
		if p.ID.Part == addr.Cache {
			continue
		}
		programs += programPages
		pr := precision(p)
		precisions[p.ID] = pr
		sibling := p.ID
		sibling.Phase = addr.Prefill
		if m.Config.EnableFilterSharing && p.ID.Phase == addr.Decode && precisions[sibling] == pr {
			continue // its weights are those of prefill
		}
		f.WeightBytes += m.weightBytes(p.ID, pr, ck)
	}
	sizes := m.Params
	sizes.ContextTokens = contextTokens
	for _, phase := range m.cachePhases() {
		programs += cachePages * int64(len(m.Arch.Windows(phase, sizes)))
	}
	f.DRAMBytes = f.WeightBytes + f.EmbeddingBytes + f.KVCacheBytes + f.BufferBytes
	f.SizeBytes = f.WeightBytes + programs + f.EmbeddingBytes + m.tableBytes(contextTokens)
	return f
}

// cachePhases lists the phases of which some CACHE part is compiled.
func (m *Model) cachePhases() []addr.Phase {
	var out []addr.Phase
	for _, phase := range addr.Phases {
		if slices.ContainsFunc(m.Parts, func(p Part) bool {
			return p.ID.Part == addr.Cache && p.ID.Phase == phase && p.Decision.Compile
		}) {
			out = append(out, phase)
		}
	}
	return out
}

// ArchiveBytes returns the size of all archives: one for each layer that has
// programs of its own, and one for those of CACHE.
func (m *Model) ArchiveBytes() int64 {
	size := int64(0)
	layers := map[int]bool{}
	for _, p := range m.Parts {
		if p.Decision.Compile && p.ID.Part != addr.Cache {
			layers[p.ID.Index] = true
			size += memberBytes + m.programBytes(p)
		}
	}
	phases := m.cachePhases()
	for _, phase := range phases {
		size += int64(len(m.Arch.Windows(phase, m.Params))) * (memberBytes + cachePages)
	}
	archives := len(layers) + min(len(phases), 1)
	return size + archiveBytes*int64(archives)
}

// RuleTotal is what a rule decided.
type RuleTotal struct {
	Name        string // "(default)" for what no rule matched
	Where       string // file:line of the rule, "" for the default
	Parts       int
	Compiled    int
	Precision   config.Precision // of what is compiled, "" where it differs
	WeightBytes int64            // of what is compiled
}

// RuleTotals sums up what each rule decided that matched a part, in the order
// in which rules are asked.
func (m *Model) RuleTotals() []RuleTotal {
	list := m.Config.Rules.List()
	totals := make([]RuleTotal, len(list)+1)
	shared := m.Shared()
	for _, p := range m.Parts {
		i := p.Decision.Rule
		if i < 0 {
			i = len(list)
		}
		r := &totals[i]
		r.Parts++
		if !p.Decision.Compile {
			continue
		}
		if r.Compiled++; r.Compiled == 1 {
			r.Precision = p.Decision.Precision
		} else if r.Precision != p.Decision.Precision {
			r.Precision = ""
		}
		if !shared[p.ID] {
			r.WeightBytes += p.WeightBytes
		}
	}
	for i, r := range list {
		totals[i].Name, totals[i].Where = r.Name, r.Range.String()
	}
	totals[len(list)].Name = "(default)"
	return slices.DeleteFunc(totals, func(r RuleTotal) bool { return r.Parts == 0 })
}

// programBytes returns the size of the program of a part that is not CACHE.
func (m *Model) programBytes(p Part) int64 {
	if m.Shared()[p.ID] {
		return programPages
	}
	return programPages + p.WeightBytes
}

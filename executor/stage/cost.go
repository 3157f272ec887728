package stage

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
)

// What targets take beside matrices, in bytes: bounds, up to twice what they
// were found to take.
const (
	graphText   = 12 << 10 // a graph without constants: 3 to 10 KiB
	programCode = 20 << 10 // a program's header, code and symbols: 12 to 14 KiB
	windowCode  = 10 << 10 // the same of a CACHE program: 5 to 7 KiB
	slack       = 64       // of archives and alignment: one byte for so many
	baseMemory  = 8 << 20  // buffers of a stage that streams

	blockWeights = 16 << 20 // of a matrix that are quantised at a time

	gradientMemory = 256 << 20 // hidden states that gradients keep
)

// vectorBytes bounds the vectors of a part: norms and biases as float32.
func vectorBytes(m *planner.Model) int64 {
	return 4 * 4 * int64(max(m.Arch.HiddenSize, m.Arch.NumAttentionHeads*m.Arch.HeadDim))
}

// graphBytes bounds the graphs of a target's part: CACHE has one a window.
func graphBytes(t *planner.Target) int64 {
	if t.Part.Part != addr.Cache {
		return graphText + vectorBytes(t.Model)
	}
	return graphText * int64(len(t.Model.Arch.Windows(t.Part.Phase, t.Model.Params)))
}

// Costs bounds what the targets of a plan take that run or may run.
func Costs(p *planner.Plan, facts planner.Facts) map[*planner.Target]executor.Cost {
	c := &coster{
		facts: facts, outputs: map[*planner.Target][]planner.Output{}, stored: map[string]bool{},
		matrix: map[*planner.Model]map[addr.PartID][]matrix{}, shared: map[*planner.Model]map[addr.PartID]bool{},
	}
	for _, m := range p.Graph.Models {
		c.shared[m] = m.Shared()
	}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.State == planner.Fresh || d.State == planner.Restore && d.With == nil {
			c.outputs[d.Target] = d.Outputs
		}
	}
	out := map[*planner.Target]executor.Cost{}
	for i := range p.Decisions {
		if d := &p.Decisions[i]; d.State == planner.Run || d.State == planner.MayRun {
			out[d.Target] = c.cost(d.Target)
		}
	}
	return out
}

type coster struct {
	facts   planner.Facts
	outputs map[*planner.Target][]planner.Output // of those that do not run
	stored  map[string]bool                      // what several targets make is stored once
	matrix  map[*planner.Model]map[addr.PartID][]matrix
	shared  map[*planner.Model]map[addr.PartID]bool // parts whose weights are in another program
}

// once reports whether something is counted for the first time.
func (c *coster) once(name string) bool {
	first := !c.stored[name]
	c.stored[name] = true
	return first
}

func (c *coster) cost(t *planner.Target) executor.Cost {
	m := t.Model
	cost := executor.Cost{MemoryBytes: baseMemory}
	switch t.Addr.Stage {
	case addr.Devkit:
		cost.StoreBytes = devkitBytes(t)
		cost.MemoryBytes += 2 * plainFiles(t)
	case addr.ONNX:
		if c.once(shape(t)) {
			cost.StoreBytes = graphBytes(t)
		}
	case addr.Quantize, addr.ModelSDKDirect, addr.SourceToQuant:
		if c.once(shape(t)) {
			cost.StoreBytes = graphBytes(t)
		}
		for _, w := range c.matrices(m, t.Part) {
			if w.refers {
				continue
			}
			if c.once(w.file) {
				cost.StoreBytes += w.bytes
			}
			cost.MemoryBytes = max(cost.MemoryBytes, baseMemory+w.memory)
		}
	case addr.Compile:
		if c.once(shape(t)) {
			cost.StoreBytes = c.programSize(m, t.Part)
		}
	case addr.MPK:
		cost.StoreBytes = graphText
		for _, d := range t.Deps {
			if c.once(t.Addr.String() + " " + shape(d)) {
				size := c.programSize(m, d.Part)
				cost.StoreBytes += size + size/slack
			}
		}
	case addr.Package:
		cost.OutputBytes, cost.LinkBytes = c.published(t)
		cost.StoreBytes = int64(256*len(m.Parts)) + graphText // precision.json and index.json
	case addr.Calibrate:
		c.calibrate(t, &cost)
	case addr.Adapter:
	}
	return cost
}

// shape names what targets have in common that make the same thing: CACHE is
// alike in all layers.
func shape(t *planner.Target) string {
	if t.Part.Part != addr.Cache {
		return t.Addr.String()
	}
	return t.Addr.Model + ":" + t.Addr.Stage.String() + ":" + t.Part.Phase.String()
}

func (c *coster) programSize(m *planner.Model, id addr.PartID) int64 {
	if id.Part == addr.Cache {
		return windowCode * int64(len(m.Arch.Windows(id.Phase, m.Params)))
	}
	size := programCode + vectorBytes(m)
	if c.shared[m][id] {
		return size
	}
	for _, w := range c.matrices(m, id) {
		size += w.program + w.program/slack
	}
	return size
}

// matrix is a matrix of a part in the precision of the part.
type matrix struct {
	file    string // names its file of weights
	refers  bool   // to the checkpoint or to what CALIBRATE made: nothing is stored
	bytes   int64  // of its file
	program int64  // of its panels in a program
	memory  int64  // to make it: a block of rows as it is, and as it will be
}

// panelRows is how many rows a panel of a program has; the last one is filled
// up.
const panelRows = 16

// matrices lists the matrices of a part in its precision; none for CACHE.
func (c *coster) matrices(m *planner.Model, id addr.PartID) []matrix {
	parts := c.matrix[m]
	if parts == nil {
		parts = map[addr.PartID][]matrix{}
		for _, p := range m.Parts {
			if p.ID.Part != addr.Cache {
				parts[p.ID] = newMatrices(m, p)
			}
		}
		c.matrix[m] = parts
	}
	return parts[id]
}

func newMatrices(m *planner.Model, p planner.Part) []matrix {
	var out []matrix
	for _, src := range m.Tensors(p.ID) {
		name, shape := src.Name, src.Shape
		if len(shape) != 2 {
			continue
		}
		t, _ := m.Checkpoint.Weight(name)
		rows := (shape[0] + panelRows - 1) / panelRows * panelRows
		if t.Coded() {
			// Codes are held as bytes, scales as float32, beside the file made of them.
			size := quant.LayoutOf(t.Coding, shape[0], shape[1]).SizeBytes
			out = append(out, matrix{
				file: name + " carried", bytes: size, program: quant.LayoutOf(t.Coding, rows, shape[1]).SizeBytes,
				memory: int64(shape[0])*int64(shape[1])*3/2 + 2*size,
			})
			continue
		}
		precision := p.Decision.Precision
		if m.Format != source.HF {
			precision = config.BF16
		}
		f := planner.FormatOf(m.Config, precision, name == m.Arch.HeadName())
		w := matrix{
			file:   name + " " + f.String(),
			refers: f.Bits == 16 && t.DType == tensor.BF16 || planner.MethodOf(m.Config, f) == config.Calibrated,
			bytes:  f.SizeBytes(shape[0], shape[1]), program: f.SizeBytes(rows, shape[1]),
		}
		w.memory = min(int64(shape[0]), blockWeights/int64(shape[1])+1)*int64(shape[1])*int64(t.DType.Bytes()+3) + w.bytes/slack
		out = append(out, w)
	}
	return out
}

// devkitBytes bounds what DEVKIT stores: plain files, and the embeddings where
// they are not the checkpoint's bytes.
func devkitBytes(t *planner.Target) int64 {
	size := plainFiles(t)
	if !embeddingsRefer(t.Model) {
		size += embeddingBytes(t.Model)
	}
	return size
}

// plainFiles bounds what DEVKIT holds in memory: files as they are, RoPE
// tables and configuration.
func plainFiles(t *planner.Target) int64 {
	size := graphText + 2*4*int64(t.Model.Params.ContextTokens)*int64(t.Model.Arch.HeadDim)
	for _, src := range t.Sources {
		if src.Kind != planner.WholeFile {
			continue
		}
		if st, err := os.Stat(src.Path); err == nil {
			size += st.Size()
		}
	}
	return size
}

func embeddingBytes(m *planner.Model) int64 {
	return 2 * int64(m.Arch.VocabSize) * int64(m.Arch.HiddenSize)
}

func embeddingsRefer(m *planner.Model) bool {
	t, ok := m.Checkpoint.Weight(m.Arch.EmbeddingName())
	return ok && t.Raw && t.DType == tensor.BF16 && !m.Config.QuantizeEmbeddings
}

// published bounds what PACKAGE copies into the output folder, and what it
// links. What is there as it will be is not written again.
func (c *coster) published(t *planner.Target) (copied, linked int64) {
	m := t.Model
	there := map[string]fingerprint.Digest{}
	if rec, ok, _ := c.facts.Record(t.Addr); ok && rec.Folder == m.Config.Output {
		for _, p := range rec.Published {
			there[p.Path] = p.Source
		}
	}
	for _, src := range t.Sources {
		if src.Kind != planner.Shard {
			continue
		}
		digest, err := c.facts.Digest(src)
		if err == nil && there[folders[addr.ONNX]+src.Name[len("shard"):]] == digest {
			continue
		}
		if st, err := os.Stat(src.Path); err == nil {
			copied += st.Size()
		}
	}
	seen := map[string]bool{}
	for _, d := range t.Deps {
		known, fresh := c.outputs[d]
		if !fresh {
			add, link := c.unknownOutputs(d, seen)
			copied, linked = copied+add, linked+link
			continue
		}
		for _, o := range known {
			path := folders[d.Addr.Stage] + "/" + o.Name
			switch {
			case there[path] == o.Digest || seen[path]:
			case o.Tensor != "" || noLink(o.Name):
				copied += o.Size
			default:
				linked += o.Size
			}
			seen[path] = true
		}
	}
	return copied, linked
}

// unknownOutputs bounds what is published of a target that has yet to run.
func (c *coster) unknownOutputs(d *planner.Target, seen map[string]bool) (copied, linked int64) {
	m := d.Model
	switch d.Addr.Stage {
	case addr.Devkit:
		if embeddingsRefer(m) {
			copied = embeddingBytes(m)
		}
		linked = devkitBytes(d)
	case addr.Quantize, addr.ModelSDKDirect, addr.SourceToQuant:
		linked = graphBytes(d)
		for _, w := range c.matrices(m, d.Part) {
			if !seen[w.file] {
				seen[w.file] = true
				copied += w.bytes
			}
		}
	case addr.Compile:
		linked = c.programSize(m, d.Part)
	case addr.MPK:
		linked = graphText
		for _, dep := range d.Deps {
			if name := d.Addr.String() + " " + shape(dep); !seen[name] {
				seen[name] = true
				size := c.programSize(m, dep.Part)
				linked += size + size/slack
			}
		}
	case addr.ONNX:
		linked = graphBytes(d)
	case addr.Package, addr.Calibrate, addr.Adapter:
	}
	if d.Part.Part == addr.Cache && seen[shape(d)] {
		linked = 0
	}
	seen[shape(d)] = true
	return copied, linked
}

// calibrate bounds what a target of CALIBRATE takes: on the disk codes, and
// once for all layers the streams, of which those of two borders are kept and
// two are being made; in memory what the widest matrix needs, and what each
// worker computes of a text.
func (c *coster) calibrate(t *planner.Target, cost *executor.Cost) {
	m := t.Model
	samples, tokens := int64(m.Config.Calibration.Samples), int64(m.Config.Calibration.SampleTokens)
	if t.Addr.Unit == planner.CalibrateData {
		cost.StoreBytes = 4*samples*tokens + graphText + 6*4*samples*tokens*int64(m.Arch.HiddenSize)
		cost.StoreBytes += cost.StoreBytes / slack
		cost.MemoryBytes += 64 * samples * tokens
		if m.Config.Calibration.Dataset == config.Self {
			cost.MemoryBytes += selfMemory(m)
		}
		return
	}
	each := tokens * (int64(8*m.Arch.HiddenSize+4*m.Arch.IntermediateSize) + 4*tokens) * 4
	cost.MemoryBytes += int64(runtime.GOMAXPROCS(0)) * each
	if t.Addr.Unit == planner.CalibrateGradients {
		for _, src := range t.Sources {
			w, _ := m.Checkpoint.Weight(strings.TrimPrefix(src.Name, planner.TensorName("")))
			if len(w.Shape) == 2 && w.Name != m.Arch.EmbeddingName() && w.Name != m.Arch.HeadName() {
				cost.StoreBytes += 4 * int64(calib.GradientSize(w.Shape[0]))
			}
		}
		cost.MemoryBytes += 3*gradientMemory + int64(runtime.GOMAXPROCS(0))*tokens*int64(m.Arch.VocabSize)*32
		return
	}
	layer, err := strconv.Atoi(t.Addr.Unit)
	if err != nil {
		return
	}
	cost.StoreBytes = graphText
	widest, matrix := int64(m.Arch.HiddenSize), int64(0)
	for _, w := range m.Wanted(layer) {
		src, _ := m.Checkpoint.Weight(w.Tensor)
		n, k := src.Shape[0], src.Shape[1]
		widest, matrix = max(widest, int64(k)), max(matrix, solvedMemory(int64(n)*int64(k), w.Tensor == m.Arch.HeadName()))
		for _, f := range w.Formats {
			if c.once(w.Tensor + " " + f.String()) {
				cost.StoreBytes += f.SizeBytes(n, k)
			}
			cost.StoreBytes += graphText / 8 // of the report
		}
	}
	kept := samples * tokens * int64(m.Arch.HiddenSize) * 2 * 2 * 4 // values of both models between passes
	cost.MemoryBytes += widest*widest*96 + matrix + kept
}

// solvedMemory bounds what the matrix takes that is being quantised. The rows
// of the output head go in strips: all that it takes as a whole is its weights
// and what methods make of them.
func solvedMemory(weights int64, head bool) int64 {
	if !head {
		return weights * 48
	}
	return weights*12 + min(weights, int64(calib.Defaults().Strip))*48
}

// selfMemory bounds what a model takes that writes text: its matrices in
// float32, and keys and values of the texts in work.
func selfMemory(m *planner.Model) int64 {
	weights := int64(0)
	for _, p := range m.Parts {
		if p.ID.Phase == addr.Prefill && p.ID.Part != addr.Cache {
			weights += 2 * p.FloatBytes
		}
	}
	return min(weights, 2<<30) + 1<<30
}

package planner

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
)

// Units of CALIBRATE beside the layers, which are called by their numbers.
const (
	CalibrateData      = "data"      // reads the dataset
	CalibrateGradients = "gradients" // of the outputs of all matrices, in the float model
)

// What CALIBRATE writes. Weights have the names by which QUANTIZE lists them.
const (
	TokensFile   = "tokens.bin"    // of the samples, int32 [samples, tokens], little-endian
	CoverageFile = "coverage.json" // what of the dataset they are
)

// StreamsFile has the digests of both streams behind a layer.
func StreamsFile(layer int) string { return "streams_" + strconv.Itoa(layer) + ".json" }

// ReportFile says how the matrices of a layer were quantised.
func ReportFile(layer int) string { return "report_" + strconv.Itoa(layer) + ".json" }

// GradientsFile has the gradients of a matrix's outputs.
func GradientsFile(tensor string) string { return "gradients/" + tensor }

// CalibrationOf returns the target that calibrates a layer.
func (m *Model) CalibrationOf(layer int) *Target { return m.Calibration[2+layer] }

// WeightsFile is the file of a matrix in a format.
func WeightsFile(tensor string, f quant.Format) string { return "weights/" + tensor + "." + f.String() }

// Wanted is a matrix that is quantised by data.
type Wanted struct {
	Tensor  string
	Formats []quant.Format // those that some phase asks for, the coarsest first
}

// Wanted lists the matrices of a layer that its compiled parts want quantised
// by data, the output head last, in either phase.
func (m *Model) Wanted(layer int) []Wanted {
	var out []Wanted
	if m.Config.Calibration == nil || m.Format != source.HF {
		return nil
	}
	for _, p := range m.Parts {
		if p.ID.Index != layer || !p.Decision.Compile {
			continue
		}
		for _, t := range m.Tensors(p.ID) {
			if len(t.Shape) != 2 {
				continue
			}
			f := p.FormatOf(m, t.Name == m.Arch.HeadName())
			if MethodOf(m.Config, f) != config.Calibrated {
				continue
			}
			i := slices.IndexFunc(out, func(w Wanted) bool { return w.Tensor == t.Name })
			if i < 0 {
				i = len(out)
				out = append(out, Wanted{Tensor: t.Name})
			}
			if !slices.Contains(out[i].Formats, f) {
				out[i].Formats = append(out[i].Formats, f)
			}
		}
	}
	for _, w := range out {
		slices.SortFunc(w.Formats, func(a, b quant.Format) int { return cmp.Compare(a.Bits, b.Bits) })
	}
	return out
}

// calibrated counts the layers up to the last one that wants data: what comes
// after it no calibration has to see.
func (m *Model) calibrated() int {
	n := 0
	for l := range m.Arch.NumHiddenLayers {
		if len(m.Wanted(l)) > 0 {
			n = l + 1
		}
	}
	return n
}

// addCalibration adds the targets that choose codes by data: one that reads the
// dataset, one that sees what outputs of matrices matter, and one for each
// layer, which reads what the layer before it left.
func (m *Model) addCalibration() error {
	n := m.calibrated()
	if n == 0 {
		return nil
	}
	data, err := m.addData()
	if err != nil {
		return err
	}
	gradients, err := m.addGradients(data)
	if err != nil {
		return err
	}
	m.Calibration = []*Target{data, gradients}
	for l := range n {
		if err := m.addLayer(l); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) addData() (*Target, error) {
	c := m.Config.Calibration
	t := m.target(addr.Calibrate, CalibrateData)
	t.Params.Set("samples", c.Samples)
	t.Params.Set("seq_len", c.SampleTokens)
	t.Params.Set("seed", c.Seed)
	t.Params.Set("method", c.Method)
	t.Params.Set("eos_token_id", m.Arch.EOS) // between documents
	for _, name := range []string{"samples", "seq_len", "seed", "method", "dataset"} {
		t.where(name, c.Range(name))
	}
	t.Where["dataset"] = fmt.Sprintf("%s (%s)", c.DatasetText, c.DatasetRange)
	if c.Dataset == config.Self {
		t.Params.Set("dataset", config.Self)
		t.Params.Set("bos_token_id", m.Arch.BOS)
		if err := t.readModel(); err != nil {
			return nil, err
		}
	} else {
		t.Sources = append(t.Sources, Source{Name: "dataset", Path: c.Dataset})
	}
	if err := t.addFiles(tokenizerFiles...); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(t.Sources, func(s Source) bool { return s.Name == "file/"+tokenizerFiles[0] }) {
		return nil, fmt.Errorf("there is no %s, which turns the text to calibrate with into tokens", tokenizerFiles[0])
	}
	return t, nil
}

// tokenizerFiles are those that say how text becomes tokens, and messages text.
var tokenizerFiles = []string{"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"}

// addGradients adds the target that reads all weights, and nothing of their
// formats: what matters to the model does not depend on them.
func (m *Model) addGradients(data *Target) (*Target, error) {
	t := m.target(addr.Calibrate, CalibrateGradients, data)
	t.Picks = map[*Target][]string{data: {TokensFile}}
	t.Params.Set("seq_len", m.Config.Calibration.SampleTokens)
	t.where("seq_len", m.Config.Calibration.Range("seq_len"))
	return t, t.readModel()
}

// readModel makes a target read all of the float model.
func (t *Target) readModel() error {
	m := t.Model
	arch := *m.Arch
	arch.BOS, arch.EOS = 0, nil
	text, err := json.Marshal(&arch)
	if err != nil {
		return err
	}
	t.Params.Set("architecture", fingerprint.Sum(text))
	names := []string{m.Arch.EmbeddingName()}
	for l := range m.Arch.NumHiddenLayers {
		for _, id := range m.partsOf(l) {
			names = append(names, m.tensorNames(id)...)
		}
	}
	slices.Sort(names)
	return t.addTensors(slices.Compact(names)...)
}

// addLayer adds the target of the next layer.
func (m *Model) addLayer(layer int) error {
	data, gradients := m.Calibration[0], m.Calibration[1]
	before, left := data, TokensFile
	if layer > 0 {
		before, left = m.CalibrationOf(layer-1), StreamsFile(layer-1)
	}
	t := m.target(addr.Calibrate, strconv.Itoa(layer), before, gradients)
	t.Picks = map[*Target][]string{before: {left}, gradients: {}}
	for _, w := range m.Wanted(layer) {
		if w.Tensor != m.Arch.HeadName() {
			t.Picks[gradients] = append(t.Picks[gradients], GradientsFile(w.Tensor))
		}
	}
	m.Calibration = append(m.Calibration, t)
	m.layerParams(t, layer)
	formats := []string{}
	for _, w := range m.Wanted(layer) {
		for _, f := range w.Formats {
			formats = append(formats, w.Tensor+" "+f.String())
		}
	}
	t.Params.Set("formats", formats)
	t.Where["formats"] = m.quantizationAt(func(q *config.Quantization) diag.Range { return q.Decl })
	var names []string
	if layer == 0 {
		names = append(names, m.Arch.EmbeddingName())
	}
	for _, id := range m.partsOf(layer) {
		for _, name := range m.tensorNames(id) {
			if name != m.Arch.HeadName() || slices.ContainsFunc(m.Wanted(layer), func(w Wanted) bool { return w.Tensor == name }) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return t.addTensors(slices.Compact(names)...)
}

// partsOf lists the parts of a layer, in prefill.
func (m *Model) partsOf(layer int) []addr.PartID {
	var out []addr.PartID
	for _, p := range m.Parts {
		if p.ID.Index == layer && p.ID.Phase == addr.Prefill && p.ID.Part != addr.Vision {
			out = append(out, p.ID)
		}
	}
	return out
}

// layerParams sets what a layer computes depends on beside its tensors.
func (m *Model) layerParams(t *Target, layer int) {
	c, l := m.Config.Calibration, m.Arch.Layers[layer]
	fields := map[string]any{}
	for _, id := range m.partsOf(layer) {
		fields[id.Part.String()] = m.Arch.GraphFields(id)
	}
	t.Params.Set("architecture", fields)
	t.Params.Set("layer", l)
	if !l.Conv {
		rope := m.Arch.Ropes[l.Rope]
		rope.Name = ""
		t.Params.Set("rope", rope)
		t.Params.Set("max_position_embeddings", m.Arch.MaxPositionEmbeddings) // some ropes depend on it
	}
	if layer == 0 {
		t.Params.Set("embedding_scale", m.Arch.EmbeddingScale)
	}
	t.Params.Set("samples", c.Samples)
	t.Params.Set("seq_len", c.SampleTokens)
	t.where("samples", c.Range("samples"))
	t.where("seq_len", c.Range("seq_len"))
}

// calibrateQuantize makes QUANTIZE of a part read the codes that CALIBRATE of
// its layer wrote for it.
func (m *Model) calibrateQuantize(t *Target, p *Part) {
	var names []string
	for _, s := range m.Tensors(p.ID) {
		f := p.FormatOf(m, s.Name == m.Arch.HeadName())
		if len(s.Shape) == 2 && MethodOf(m.Config, f) == config.Calibrated {
			names = append(names, WeightsFile(s.Name, f))
		}
	}
	if len(names) == 0 || len(m.Calibration) == 0 {
		return
	}
	layer := m.CalibrationOf(p.ID.Index)
	t.Deps = append(t.Deps, layer)
	t.Picks = map[*Target][]string{layer: names}
}

// calibrateReports makes PACKAGE read what calibration says of itself.
func (m *Model) calibrateReports(t *Target) {
	if len(m.Calibration) == 0 {
		return
	}
	t.Picks = map[*Target][]string{m.Calibration[0]: {CoverageFile}}
	t.Deps = append(t.Deps, m.Calibration[0])
	for l, c := range m.Calibration[2:] {
		t.Deps = append(t.Deps, c)
		t.Picks[c] = []string{ReportFile(l)}
	}
}

// CheckCalibration reports a dataset that is no file with something in it, and
// a calibration that decides nothing.
func (m *Model) CheckCalibration() diag.List {
	c := m.Config.Calibration
	if c == nil || m.Format != source.HF {
		return nil
	}
	if m.calibrated() == 0 {
		r := c.Decl
		return diag.List{{
			Severity: diag.Warning, Summary: "Calibration has no effect", Subject: &r,
			Detail: fmt.Sprintf("No compiled part of model %q is quantised by data: its weights stay in BF16, or its quantization block names other methods. The block can be removed.", m.Config.Name),
		}}
	}
	if c.Dataset == config.Self {
		return nil
	}
	var problem string
	st, err := os.Stat(c.Dataset)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem = fmt.Sprintf("there is no file %s. The path is relative to the folder of llima.hcl, not to yours.", c.DatasetText)
	case err != nil:
		problem = fmt.Sprintf("%s: %v.", c.DatasetText, errors.Unwrap(err))
	case st.IsDir():
		problem = fmt.Sprintf("%s is a folder. Name one file in it.", c.DatasetText)
	case !st.Mode().IsRegular():
		problem = fmt.Sprintf("%s is not a regular file.", c.DatasetText)
	case st.Size() == 0:
		problem = fmt.Sprintf("%s is empty. It should have %d samples of %d tokens.", c.DatasetText, c.Samples, c.SampleTokens)
	default:
		return nil
	}
	r := c.DatasetRange
	return diag.List{{
		Severity: diag.Error, Summary: "Unusable dataset", Subject: &r,
		Detail: fmt.Sprintf("Model %q is calibrated with text, and %s", m.Config.Name, problem),
	}}
}

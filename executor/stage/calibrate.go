package stage

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/chat"
	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/formats/tokenizer"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
	"github.com/llima-build/llima/quant/walk"
)

// calibrate chooses the codes of matrices by what flows through the model for
// some text: one target samples the text, then one a layer goes on from where
// the layer before it left the streams of hidden states.
type calibrate struct{}

// Run implements [executor.Stage].
func (calibrate) Run(ctx context.Context, a *executor.Action) error {
	switch a.Target.Addr.Unit {
	case planner.CalibrateData:
		return sample(ctx, a)
	case planner.CalibrateGradients:
		return gradients(ctx, a)
	}
	layer, err := strconv.Atoi(a.Target.Addr.Unit)
	if err != nil {
		return fmt.Errorf("llima: internal error: no layer %q", a.Target.Addr.Unit)
	}
	return calibrateLayer(ctx, a, layer)
}

// sample writes the token ids of the samples, and what of the dataset they
// cover.
func sample(ctx context.Context, a *executor.Action) error {
	m := a.Target.Model
	read := readDataset
	if m.Config.Calibration.Dataset == config.Self {
		read = drawSamples
	}
	s, err := read(ctx, a)
	if err != nil {
		return err
	}
	var out []byte
	for _, w := range s.Windows {
		for _, id := range w {
			if id >= m.Arch.VocabSize {
				return fmt.Errorf("tokenizer.json has token %d, and the model's vocabulary has %d\n  tokenizer.json and the weights must be of one model: bring both from where it was published", id, m.Arch.VocabSize)
			}
			out = binary.LittleEndian.AppendUint32(out, uint32(id)) //nolint:gosec // an index of the vocabulary
		}
	}
	if err := a.WriteFile(planner.TokensFile, out); err != nil {
		return err
	}
	coverage, err := marshal(s.Coverage)
	if err != nil {
		return err
	}
	return a.WriteFile(planner.CoverageFile, coverage)
}

// readDataset picks samples of a file.
func readDataset(ctx context.Context, a *executor.Action) (*dataset.Samples, error) {
	c := a.Target.Model.Config.Calibration
	encoder, err := newEncoder(a)
	if err != nil {
		return nil, err
	}
	f, err := dataset.Open(c.Dataset, c.DatasetText)
	if err != nil {
		return nil, err
	}
	s, err := encoder.Sample(ctx, f, dataset.Options{
		Samples: c.Samples, Tokens: c.SampleTokens, Seed: int64(c.Seed),
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%w\n  dataset, samples and seq_len are those of the calibration block at %s", err, c.Decl)
	}
	return s, nil
}

// drawSamples lets the float model write the samples.
func drawSamples(ctx context.Context, a *executor.Action) (*dataset.Samples, error) {
	m := a.Target.Model
	c := m.Config.Calibration
	encoder, err := newEncoder(a)
	if err != nil {
		return nil, err
	}
	begin := encoder.Tokenizer.Prefix()
	switch {
	case len(begin) > 0:
	case m.Arch.BOS >= 0:
		begin = []int{m.Arch.BOS}
	case len(m.Arch.EOS) > 0: // which is between texts
		begin = m.Arch.EOS[:1]
	default:
		return nil, errors.New("neither tokenizer.json nor config.json says which token begins a text\n  name a file of text as dataset")
	}
	w, err := newWalker(a)
	if err != nil {
		return nil, err
	}
	s := &dataset.Samples{Coverage: dataset.Coverage{
		Format: config.Self, Samples: c.Samples, SampleTokens: c.SampleTokens, TokensUsed: c.Samples * (c.SampleTokens - len(begin)),
		Vocabulary: m.Arch.VocabSize, Seed: int64(c.Seed),
	}}
	s.Windows, err = w.model.Sample(ctx, walk.Sampling{
		Texts: c.Samples, Begin: begin, End: m.Arch.EOS, Seed: uint64(c.Seed), Progress: a.Progress, //nolint:gosec // bits
	})
	seen := map[int]bool{}
	for _, w := range s.Windows {
		for _, id := range w {
			seen[id] = true
		}
	}
	s.Coverage.SeenInUse = len(seen)
	return s, err
}

// newEncoder reads the model's tokenizer, and its chat template where it has
// one.
func newEncoder(a *executor.Action) (*dataset.Encoder, error) {
	m := a.Target.Model
	data, ok, err := m.Checkpoint.Aux("tokenizer.json")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("tokenizer.json: gone")
	}
	e := &dataset.Encoder{EOS: -1}
	if e.Tokenizer, err = tokenizer.Load(data); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if len(m.Arch.EOS) > 0 {
		e.EOS = m.Arch.EOS[0]
	}
	found, err := chat.Find(m.Checkpoint.Aux)
	if err != nil || found.Text == "" {
		return e, err
	}
	template, err := chat.Parse(found.Text)
	e.Render = func(messages json.RawMessage) (string, error) {
		if err != nil {
			return "", fmt.Errorf("%s: %w", found.File, err)
		}
		return template.Render(messages, chat.Options{Variables: found.Variables})
	}
	return e, nil
}

// gradients writes, for each matrix of the layers, how much its outputs matter.
func gradients(ctx context.Context, a *executor.Action) error {
	w, err := newWalker(a)
	if err != nil {
		return err
	}
	texts, err := readTokens(a)
	if err != nil {
		return err
	}
	return w.model.Gradients(ctx, texts, func(tensor string, n int) ([]float32, error) {
		b, err := a.Map(planner.GradientsFile(tensor), 4*int64(calib.GradientSize(n)))
		return floatsOf(b), err
	}, a.Progress)
}

// layerReport is report_N.json.
type layerReport struct {
	Layer    int            `json:"layer"`
	Matrices []matrixReport `json:"matrices"`
}

// matrixReport says how a matrix was quantised. Errors are parts of what its
// outputs are.
type matrixReport struct {
	Tensor     string            `json:"tensor"`
	Format     string            `json:"format"`
	Method     calib.Method      `json:"method"`
	Target     float64           `json:"target"`
	Candidates []candidateReport `json:"candidates"`
}

type candidateReport struct {
	Method calib.Method `json:"method"`
	Fit    float64      `json:"fit_error"`
	Held   float64      `json:"held_out_error"`
}

// streams is streams_N.json: what both streams are behind a layer, by digest.
type streams struct {
	Float     string `json:"float"`
	Quantised string `json:"quantised"`
}

// calibrateLayer quantises the matrices of a layer that some part wants by
// data, and moves both streams past it.
func calibrateLayer(ctx context.Context, a *executor.Action, layer int) (err error) {
	w, err := newWalker(a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.reach(ctx, layer); err != nil {
		return err
	}
	wanted := a.Target.Model.Wanted(layer)
	report := layerReport{Layer: layer, Matrices: []matrixReport{}}
	if len(wanted) == 0 {
		err = w.pass(ctx, layer, nil)
	} else {
		report.Matrices, err = w.quantise(ctx, layer, wanted)
	}
	if err != nil {
		return err
	}
	b, err := marshal(report)
	if err != nil {
		return err
	}
	if err := a.WriteFile(planner.ReportFile(layer), b); err != nil {
		return err
	}
	left, err := w.keep(a.Target == a.Target.Model.Calibration[len(a.Target.Model.Calibration)-1])
	if err != nil {
		return err
	}
	if b, err = marshal(left); err != nil {
		return err
	}
	return a.WriteFile(planner.StreamsFile(layer), b)
}

// quantise chooses the codes of a layer's matrices, and writes them.
func (w *walker) quantise(ctx context.Context, layer int, wanted []planner.Wanted) ([]matrixReport, error) {
	if err := w.split(); err != nil {
		return nil, err
	}
	formats := map[string][]quant.Format{}
	for _, x := range wanted {
		formats[x.Tensor] = x.Formats
	}
	q := &walk.Quantizer{
		Model: w.model, Settings: calib.Defaults(),
		Formats:  func(tensor string) []quant.Format { return formats[tensor] },
		Gradient: w.gradient, Progress: w.a.Progress,
		Float: w.float.texts, Quantised: w.quantised.texts,
	}
	results, err := q.Layer(ctx, layer)
	if err != nil {
		return nil, err
	}
	if layer == w.model.Arch.NumHiddenLayers-1 {
		head, err := q.Head(ctx)
		if err != nil {
			return nil, err
		}
		results = append(results, head...)
	}
	var out []matrixReport
	for _, r := range results {
		if err := w.a.WriteFile(planner.WeightsFile(r.Tensor, r.Format), quant.Encode(r.Codes, r.Scales, r.N, r.K, r.Format)); err != nil {
			return nil, err
		}
		m := matrixReport{Tensor: r.Tensor, Format: r.Format.String(), Method: r.Report.Method, Target: r.Report.Target, Candidates: []candidateReport{}}
		for _, c := range r.Report.Candidates {
			m.Candidates = append(m.Candidates, candidateReport(c))
		}
		out = append(out, m)
	}
	return out, nil
}

// readTokens reads the token ids of the samples.
func readTokens(a *executor.Action) ([][]int, error) {
	m := a.Target.Model
	for _, in := range a.Made(m.Calibration[0]) {
		if in.Name != planner.TokensFile {
			continue
		}
		b, err := a.Bytes(in)
		if err != nil {
			return nil, err
		}
		tokens := m.Config.Calibration.SampleTokens
		texts := make([][]int, len(b)/4/tokens)
		for i := range texts {
			texts[i] = make([]int, tokens)
			for j := range texts[i] {
				texts[i][j] = int(int32(binary.LittleEndian.Uint32(b[4*(i*tokens+j):]))) //nolint:gosec // as it was written
			}
		}
		return texts, nil
	}
	return nil, os.ErrNotExist
}

// calibration is devkit/calibration.json: what the model was calibrated with,
// and what came of it.
type calibration struct {
	FormatVersion int                `json:"format_version"`
	Dataset       fingerprint.Digest `json:"dataset,omitempty"` // none where the model wrote it
	Coverage      json.RawMessage    `json:"coverage"`
	Layers        []json.RawMessage  `json:"layers"`
}

// calibrationOf collects what the targets of CALIBRATE say of themselves, nil
// where there are none.
func calibrationOf(a *executor.Action) (*calibration, error) {
	targets := a.Target.Model.Calibration
	if len(targets) == 0 {
		return nil, nil
	}
	c := &calibration{FormatVersion: 1, Layers: []json.RawMessage{}}
	for _, src := range targets[0].Sources {
		if src.Name == "dataset" {
			var err error
			if c.Dataset, err = a.SourceDigest(src); err != nil {
				return nil, err
			}
		}
	}
	for _, in := range a.Inputs() {
		if in.From.Addr.Stage != addr.Calibrate {
			continue
		}
		b, err := a.Bytes(in)
		if err != nil {
			return nil, err
		}
		if b = bytes.Clone(b); in.Name == planner.CoverageFile {
			c.Coverage = b
		} else {
			c.Layers = append(c.Layers, b)
		}
	}
	return c, nil
}

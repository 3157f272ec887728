package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/document"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/walk"
)

// walker holds the streams of one run of CALIBRATE: files in the store's
// scratch, mapped into memory, so that memory does not grow with the samples.
// Those of the layer before are found by digest; where they are gone they are
// computed again, from the codes that earlier layers wrote, and compared with
// their digests.
type walker struct {
	a                *executor.Action
	model            *walk.Model
	scratch          *store.Scratch
	float, quantised *stream // one and the same until a matrix is quantised
	entered          streams // digests at the border where the layer begins
}

// stream is the hidden states of all samples.
type stream struct {
	file  *store.ScratchFile
	texts walk.Stream
}

func newWalker(a *executor.Action) (*walker, error) {
	one := uint16(1)
	if *(*byte)(unsafe.Pointer(&one)) != 1 {
		return nil, errors.New("calibration needs a little-endian machine: streams are files of such numbers")
	}
	m := a.Target.Model
	var mu sync.Mutex
	read := func(name string) (tensor.DType, []int, []byte, error) {
		mu.Lock()
		defer mu.Unlock()
		b, err := a.Tensor(name)
		if err != nil {
			return 0, nil, nil, err
		}
		t, _ := m.Checkpoint.Weight(name)
		return t.DType, t.Shape, b, nil
	}
	return &walker{
		a: a, scratch: a.Scratch(),
		model: &walk.Model{Arch: m.Arch, Tensor: read, Tokens: m.Config.Calibration.SampleTokens},
	}, nil
}

func (w *walker) close() error {
	var errs []error
	for _, s := range []*stream{w.float, w.quantised} {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(errs...)
}

// over returns the stream that lies in a file.
func (w *walker) over(f *store.ScratchFile) *stream {
	return &stream{f, w.model.StreamOver(floatsOf(f.Bytes()))}
}

// floatsOf looks at mapped bytes as numbers of this machine.
func floatsOf(b []byte) []float32 {
	if len(b) < 4 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// reach takes both streams to where a layer begins.
func (w *walker) reach(ctx context.Context, layer int) error {
	from := layer
	for ; from > 0; from-- {
		ok, err := w.find(from)
		if err != nil {
			return err
		}
		if ok {
			break
		}
	}
	if from == 0 {
		if err := w.embed(); err != nil {
			return err
		}
	}
	for l := from; l < layer; l++ {
		if _, err := fmt.Fprintf(w.a.Log, "layer %d: its hidden states are gone, and computed again\n", l); err != nil {
			return err
		}
		weights, err := w.codes(l)
		if err != nil {
			return err
		}
		if err := w.pass(ctx, l, weights); err != nil {
			return err
		}
		if err := w.verify(l); err != nil {
			return err
		}
	}
	return nil
}

// left returns the digests of the streams behind a layer that is done.
func (w *walker) left(layer int) (streams, error) {
	var s streams
	for _, in := range w.a.Made(w.a.Target.Model.CalibrationOf(layer)) {
		if in.Name == planner.StreamsFile(layer) {
			b, err := w.a.Bytes(in)
			if err != nil {
				return s, err
			}
			return s, document.Decode(b, &s)
		}
	}
	return s, fmt.Errorf("llima: internal error: calibration of layer %d left no %s", layer, planner.StreamsFile(layer))
}

// find takes the streams at the border where a layer begins, if both are kept.
func (w *walker) find(layer int) (bool, error) {
	s, err := w.left(layer - 1)
	if err != nil {
		return false, err
	}
	f, ok, err := w.scratch.Copy(fingerprint.Digest(s.Float))
	if err != nil || !ok {
		return false, err
	}
	w.float, w.entered = w.over(f), s
	w.quantised = w.float
	if s.Float == s.Quantised {
		return true, nil
	}
	g, ok, err := w.scratch.Copy(fingerprint.Digest(s.Quantised))
	if err != nil || !ok {
		w.float, w.quantised = nil, nil
		return false, errors.Join(err, f.Close())
	}
	w.quantised = w.over(g)
	return true, nil
}

// embed makes the streams that enter the first layer.
func (w *walker) embed() error {
	texts, err := readTokens(w.a)
	if err != nil {
		return err
	}
	f, err := w.scratch.Create(nil, 4*int64(len(texts))*int64(w.model.Tokens)*int64(w.model.Arch.HiddenSize))
	if err != nil {
		return err
	}
	w.float = w.over(f)
	w.quantised = w.float
	return w.model.Embed(w.float.texts, texts)
}

// split gives the quantised stream a file of its own.
func (w *walker) split() error {
	if w.quantised != w.float {
		return nil
	}
	b := w.float.file.Bytes()
	f, err := w.scratch.Create(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	w.quantised = w.over(f)
	return nil
}

// pass moves both streams through a layer, the quantised one with other
// weights, where there are some.
func (w *walker) pass(ctx context.Context, layer int, weights walk.Weights) error {
	if len(weights) > 0 {
		if err := w.split(); err != nil {
			return err
		}
	}
	if err := w.model.Advance(ctx, layer, w.float.texts, nil); err != nil {
		return err
	}
	if w.quantised == w.float {
		return nil
	}
	return w.model.Advance(ctx, layer, w.quantised.texts, weights)
}

// codes returns what the quantised stream goes through in a layer that is done.
func (w *walker) codes(layer int) (walk.Weights, error) {
	m := w.a.Target.Model
	out := walk.Weights{}
	made := map[string]executor.Input{}
	for _, in := range w.a.Made(m.CalibrationOf(layer)) {
		made[in.Name] = in
	}
	for _, x := range m.Wanted(layer) {
		if x.Tensor == m.Arch.HeadName() {
			continue // behind the last layer
		}
		f := x.Formats[0]
		b, err := w.a.Bytes(made[planner.WeightsFile(x.Tensor, f)])
		if err != nil {
			return nil, err
		}
		t, _ := m.Checkpoint.Weight(x.Tensor)
		codes, scales, err := quant.Decode(b, t.Shape[0], t.Shape[1], f)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", x.Tensor, err)
		}
		out[x.Tensor] = quant.Dequantize(codes, scales, t.Shape[0], t.Shape[1], f)
	}
	return out, nil
}

// gradient returns how much the outputs of a matrix matter, nil of the output
// head.
func (w *walker) gradient(name string) ([]float32, error) {
	if name == w.model.Arch.HeadName() {
		return nil, nil
	}
	in, err := w.a.Find(planner.GradientsFile(name))
	if err != nil {
		return nil, err
	}
	b, err := w.a.Bytes(in)
	return floatsOf(b), err
}

// verify compares streams that were computed again with what they were.
func (w *walker) verify(layer int) error {
	want, err := w.left(layer)
	if err != nil {
		return err
	}
	if got := w.digests(); got != want {
		return fmt.Errorf("layer %d: computed again its hidden states are not what they were: %s and %s, want %s and %s\n  a machine that gives other results than the one before it, or a damaged one, does this; to calibrate anew:\n    llima build --force %s",
			layer, short(got.Float), short(got.Quantised), short(want.Float), short(want.Quantised), w.a.Target.Addr.Model+":calibrate")
	}
	w.entered = want
	return nil
}

func short(digest string) string { return fingerprint.Digest(digest).Short() }

func (w *walker) digests() streams {
	s := streams{Float: string(fingerprint.Sum(w.float.file.Bytes()))}
	s.Quantised = s.Float
	if w.quantised != w.float {
		s.Quantised = string(fingerprint.Sum(w.quantised.file.Bytes()))
	}
	return s
}

// keep puts both streams where the next layer finds them, and removes all but
// those of this layer's two borders. Those behind the last layer nobody looks
// for.
func (w *walker) keep(last bool) (streams, error) {
	if last {
		return w.digests(), w.scratch.Trim(fingerprint.Digest(w.entered.Float), fingerprint.Digest(w.entered.Quantised))
	}
	float, err := w.float.file.Keep()
	if err != nil {
		return streams{}, err
	}
	s := streams{string(float), string(float)}
	if w.quantised != w.float {
		quantised, err := w.quantised.file.Keep()
		if err != nil {
			return s, err
		}
		s.Quantised = string(quantised)
	}
	w.float, w.quantised = nil, nil
	return s, w.scratch.Trim(
		fingerprint.Digest(s.Float), fingerprint.Digest(s.Quantised), fingerprint.Digest(w.entered.Float), fingerprint.Digest(w.entered.Quantised))
}

// Package compressedtensors reads checkpoints that llm-compressor wrote:
// weight-only INT4 and INT8 of the formats pack-quantized, int-quantized and
// naive-quantized (vllm-project/compressed-tensors, README and config), which
// quantization_config of config.json describes. Weights come as integer codes
// with scales and offsets, and each keeps the value that the format defines:
// (code − zero point) · scale in float32.
//
// It knows neither architectures nor quantisation.
package compressedtensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/tensor"
)

// Weight is one weight of the model, under the name that it has uncompressed.
type Weight struct {
	Name  string // "model.layers.0.mlp.down_proj.weight"
	Shape []int  // outermost first
	// Parts are the stored tensors that hold it: the weight itself where it is
	// not compressed, else its codes, scales and what else there is, by name.
	// Their digests identify the weight, together with [Weight.Scheme].
	Parts []checkpoint.Tensor

	module string
	args   *args // nil: not compressed
}

// Compressed reports whether the weight is stored as codes.
func (w Weight) Compressed() bool { return w.args != nil }

// Scheme names how the weight is stored, "pack-quantized 4 bits group 128
// symmetric" for example: what quantization_config adds to the parts.
func (w Weight) Scheme() string {
	if w.args == nil {
		return ""
	}
	s := fmt.Sprintf("%s %d bits %s", w.args.format, w.args.Bits, w.args.Strategy)
	if w.args.Strategy == perGroup {
		s += fmt.Sprintf(" %d", *w.args.GroupSize)
	}
	if w.args.symmetric() {
		return s + " symmetric"
	}
	return s + " asymmetric"
}

// Model is the weights of a checkpoint.
type Model struct {
	checkpoint *checkpoint.Checkpoint
	weights    []Weight // by name
}

// suffixes of the tensors that a compressed module has.
const (
	weightSuffix  = ".weight"
	packedSuffix  = ".weight_packed"
	scaleSuffix   = ".weight_scale"
	zeroSuffix    = ".weight_zero_point"
	shapeSuffix   = ".weight_shape"
	indexSuffix   = ".weight_g_idx"
	globalSuffix  = ".weight_global_scale"
	bitmaskSuffix = ".bitmask"
)

// New reads how the weights of a checkpoint are compressed, and checks that
// the tensors fit. What is not supported is refused by name. The checkpoint
// stays the caller's.
func New(c *checkpoint.Checkpoint) (*Model, error) {
	m, err := newModel(c.Config(), c.Tensors())
	if err != nil {
		return nil, fmt.Errorf("compressedtensors: %s: %w", c.Dir(), err)
	}
	m.checkpoint = c
	return m, nil
}

func newModel(configJSON []byte, tensors []checkpoint.Tensor) (*Model, error) {
	conf, err := read(configJSON)
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return nil, errors.New("config.json: no quantization_config")
	}
	if err := conf.check(); err != nil {
		return nil, fmt.Errorf("config.json: quantization_config: %w", err)
	}
	var doc map[string]json.RawMessage
	if json.Unmarshal(configJSON, &doc) == nil && !isNone(doc["vision_config"]) {
		return nil, errors.New("config.json: vision_config: a compressed model with vision is not supported; build it from the original checkpoint")
	}
	m := &Model{}
	byName := make(map[string]checkpoint.Tensor, len(tensors))
	for _, t := range tensors {
		byName[t.Name] = t
	}
	for _, t := range tensors {
		if err := m.add(conf, byName, t); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	slices.SortFunc(m.weights, func(a, b Weight) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(m.weights); i++ {
		if a := m.weights[i]; a.Name == m.weights[i-1].Name {
			return nil, fmt.Errorf("tensor %q is there twice, compressed and not", a.Name)
		}
	}
	return m, nil
}

// add enters the weight that a tensor is, or begins.
func (m *Model) add(conf *config, tensors map[string]checkpoint.Tensor, t checkpoint.Tensor) error {
	for _, s := range []string{scaleSuffix, zeroSuffix, shapeSuffix, indexSuffix} {
		if module, ok := strings.CutSuffix(t.Name, s); ok {
			_, isPacked := tensors[module+packedSuffix]
			_, isPlain := tensors[module+weightSuffix]
			if !isPacked && !isPlain {
				return fmt.Errorf("belongs to no %s or %s", packedSuffix[1:], weightSuffix[1:])
			}
			return nil
		}
	}
	if strings.HasSuffix(t.Name, globalSuffix) || strings.HasSuffix(t.Name, bitmaskSuffix) {
		return fmt.Errorf("is of a format that is not supported; %s", instead)
	}
	module, isPacked := strings.CutSuffix(t.Name, packedSuffix)
	if !isPacked {
		module, _ = strings.CutSuffix(t.Name, weightSuffix)
		if _, scaled := tensors[module+scaleSuffix]; !scaled || module == t.Name {
			m.weights = append(m.weights, Weight{Name: t.Name, Shape: t.Shape, Parts: []checkpoint.Tensor{t}})
			return nil
		}
	}
	args, err := conf.of(module, classOf(module))
	switch {
	case err != nil:
		return fmt.Errorf("quantization_config: %w", err)
	case args == nil:
		return errors.New("is compressed, and quantization_config has no target for it")
	case !isPacked && t.DType != tensor.I8:
		return fmt.Errorf("is %v with scales, so that nothing is compressed; save the model with save_compressed=True", t.DType)
	case isPacked != (args.format == packed):
		return fmt.Errorf("is not of format %s, which quantization_config says", args.format)
	}
	w := Weight{Name: module + weightSuffix, Parts: []checkpoint.Tensor{t}, module: module, args: args}
	for _, s := range []string{scaleSuffix, zeroSuffix, shapeSuffix, indexSuffix} {
		if part, ok := tensors[module+s]; ok {
			w.Parts = append(w.Parts, part)
		}
	}
	if err := w.check(); err != nil {
		return err
	}
	m.weights = append(m.weights, w)
	return nil
}

// classOf returns the class of a module with a weight, as targets name it. Only
// these two have scales.
func classOf(module string) string {
	if strings.HasSuffix(module, "embed_tokens") {
		return "Embedding"
	}
	return "Linear"
}

// part returns the stored tensor with a suffix.
func (w *Weight) part(suffix string) (checkpoint.Tensor, bool) {
	for _, t := range w.Parts {
		if t.Name == w.module+suffix {
			return t, true
		}
	}
	return checkpoint.Tensor{}, false
}

// Weights returns every weight by name. The caller must not change the list.
func (m *Model) Weights() []Weight { return m.weights }

// Weight returns the weight of that name.
func (m *Model) Weight(name string) (Weight, bool) {
	i, ok := slices.BinarySearchFunc(m.weights, name, func(w Weight, name string) int { return strings.Compare(w.Name, name) })
	if !ok {
		return Weight{}, false
	}
	return m.weights[i], true
}

// Carry takes a compressed weight of this model over as codes, scales and
// offsets. What these cannot hold exactly is an error that says so.
func (m *Model) Carry(w Weight) (*tensor.Coded, error) {
	if w.args == nil {
		return nil, fmt.Errorf("compressedtensors: tensor %q is not compressed", w.Name)
	}
	bytesOf := func(suffix string) ([]byte, error) {
		t, ok := w.part(suffix)
		if !ok {
			return nil, nil
		}
		return m.checkpoint.Bytes(t)
	}
	var s stored
	var err [5]error
	s.codes, err[0] = m.checkpoint.Bytes(w.Parts[0])
	s.scales, err[1] = bytesOf(scaleSuffix)
	s.zeros, err[2] = bytesOf(zeroSuffix)
	s.index, err[3] = bytesOf(indexSuffix)
	s.shape, err[4] = bytesOf(shapeSuffix)
	if err := errors.Join(err[:]...); err != nil {
		return nil, fmt.Errorf("compressedtensors: %w", err)
	}
	c, problem := w.carry(s)
	if problem != nil {
		return nil, fmt.Errorf("compressedtensors: %s: tensor %q: %w", m.checkpoint.Dir(), w.Name, problem)
	}
	return c, nil
}

package compressedtensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// The formats of compressed weights that are read.
const (
	packed = "pack-quantized"
	plain8 = "int-quantized"   // a byte for each code
	naive  = "naive-quantized" // the same, in older releases
	mixed  = "mixed-precision" // each group says its own
)

// instead says what to do with a checkpoint that is not supported.
const instead = "quantize the model with weight-only INT4 or INT8 (W4A16, W8A16), or build from the original checkpoint"

// strategies of sharing scales.
const (
	perTensor  = "tensor"
	perChannel = "channel"
	perGroup   = "group"
)

// config is quantization_config as far as it matters.
type config struct {
	Method    string           `json:"quant_method"`
	Format    string           `json:"format"`
	Groups    map[string]group `json:"config_groups"`
	Ignore    []string         `json:"ignore"`
	KVCache   json.RawMessage  `json:"kv_cache_scheme"`
	Sparsity  json.RawMessage  `json:"sparsity_config"`
	Transform json.RawMessage  `json:"transform_config"`

	ignore  []pattern
	schemes []scheme // by text
}

type group struct {
	Format  string          `json:"format"`
	Targets []string        `json:"targets"`
	Weights *args           `json:"weights"`
	Inputs  json.RawMessage `json:"input_activations"`
	Outputs json.RawMessage `json:"output_activations"`
}

// args say how weights are quantised.
type args struct {
	Bits      int             `json:"num_bits"`
	Type      string          `json:"type"`
	Symmetric *bool           `json:"symmetric"`
	GroupSize *int            `json:"group_size"`
	Strategy  string          `json:"strategy"`
	Dynamic   json.RawMessage `json:"dynamic"`
	ActOrder  json.RawMessage `json:"actorder"`
	format    string
}

func (a *args) symmetric() bool { return a.Symmetric == nil || *a.Symmetric }

// scheme is one target of a group.
type scheme struct {
	pattern
	args *args
}

// pattern is a target or an entry of ignore: a module's name, its class, or a
// regular expression that matches the beginning of its name.
type pattern struct {
	text string
	re   *regexp2.Regexp
}

// Bounds on what a file may ask for.
const (
	maxPatterns     = 4096
	maxPatternBytes = 4096
	matchTimeout    = time.Second
)

// Method returns quant_method of a config.json, empty for a checkpoint that is
// not quantised.
func Method(configJSON []byte) (string, error) {
	c, err := read(configJSON)
	if c == nil || err != nil {
		return "", err
	}
	return c.Method, nil
}

// read returns quantization_config, nil where there is none.
func read(configJSON []byte) (*config, error) {
	var doc struct {
		Quantization json.RawMessage `json:"quantization_config"`
		Compression  json.RawMessage `json:"compression_config"` // older
	}
	if err := json.Unmarshal(configJSON, &doc); err != nil {
		return nil, fmt.Errorf("compressedtensors: config.json: %w", err)
	}
	raw, key := doc.Quantization, "quantization_config"
	if isNone(raw) {
		raw, key = doc.Compression, "compression_config"
	}
	if isNone(raw) {
		return nil, nil //nolint:nilnil // none is no error
	}
	var c config
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("compressedtensors: config.json: %s: %w", key, err)
	}
	if c.Method == "" {
		c.Method = "compressed-tensors"
	}
	return &c, nil
}

// isNone reports a member that is missing, null or an empty object.
func isNone(raw json.RawMessage) bool {
	s := strings.TrimSpace(string(raw))
	return s == "" || s == "null" || s == "{}" || s == "[]"
}

// check refuses what is not supported, and puts the targets in order.
func (c *config) check() error {
	switch {
	case c.Method != "compressed-tensors":
		return fmt.Errorf("quant_method %q is not supported, only \"compressed-tensors\"; %s", c.Method, instead)
	case !isNone(c.KVCache):
		return fmt.Errorf("kv_cache_scheme: a quantised KV cache is not supported; %s", instead)
	case !isDense(c.Sparsity):
		return fmt.Errorf("sparsity_config: sparse weights are not supported; %s", instead)
	case !isDense(c.Transform):
		return fmt.Errorf("transform_config: rotated weights are not supported; %s", instead)
	case len(c.Groups) == 0:
		return errors.New("config_groups: missing or empty")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Groups)) {
		if err := c.addGroup(c.Groups[name]); err != nil {
			return fmt.Errorf("config_groups.%s: %w", name, err)
		}
	}
	slices.SortStableFunc(c.schemes, func(a, b scheme) int { return strings.Compare(a.text, b.text) })
	if len(c.schemes) > maxPatterns || len(c.Ignore) > maxPatterns {
		return fmt.Errorf("more than %d targets or entries of ignore", maxPatterns)
	}
	for i, s := range c.Ignore {
		p, err := newPattern(s)
		if err != nil {
			return fmt.Errorf("ignore[%d]: %w", i, err)
		}
		c.ignore = append(c.ignore, p)
	}
	return nil
}

// isDense reports a sparsity_config, or transform_config, that says nothing.
func isDense(raw json.RawMessage) bool {
	var s struct {
		Format *string         `json:"format"`
		Groups json.RawMessage `json:"config_groups"`
	}
	return isNone(raw) || json.Unmarshal(raw, &s) == nil && isNone(s.Groups) && s.Format != nil && *s.Format == "dense"
}

func (c *config) addGroup(g group) error {
	if g.Weights == nil {
		return errors.New("weights: missing, so that only activations are quantised, which is not supported")
	}
	if !isNone(g.Inputs) || !isNone(g.Outputs) {
		return fmt.Errorf("quantised activations are not supported; %s", instead)
	}
	a := g.Weights
	if a.format = g.Format; a.format == "" {
		a.format = c.Format
	}
	if err := a.check(); err != nil {
		return err
	}
	for i, t := range g.Targets {
		p, err := newPattern(t)
		if err != nil {
			return fmt.Errorf("targets[%d]: %w", i, err)
		}
		c.schemes = append(c.schemes, scheme{p, a})
	}
	return nil
}

func (a *args) check() error {
	switch a.format {
	case packed, plain8, naive:
	case mixed, "":
		return fmt.Errorf("format: missing, want %s, %s or %s", packed, plain8, naive)
	default:
		return fmt.Errorf("format %q is not supported, only %s, %s and %s; %s", a.format, packed, plain8, naive, instead)
	}
	switch {
	case a.Type != "" && a.Type != "int":
		return fmt.Errorf("weights.type %q is not supported, only \"int\"; %s", a.Type, instead)
	case a.Bits != 4 && a.Bits != 8:
		return fmt.Errorf("weights.num_bits = %d is not supported, only 4 and 8; %s", a.Bits, instead)
	case !isNone(a.Dynamic) && string(a.Dynamic) != "false":
		return fmt.Errorf("weights.dynamic = %s is not supported", a.Dynamic)
	}
	switch a.Strategy {
	case "":
		a.Strategy = perTensor
		if a.GroupSize != nil && *a.GroupSize > 0 {
			a.Strategy = perGroup
		} else if a.GroupSize != nil {
			a.Strategy = perChannel
		}
	case perTensor, perChannel, perGroup:
	default:
		return fmt.Errorf("weights.strategy %q is not supported, only group, channel and tensor; %s", a.Strategy, instead)
	}
	if a.Strategy == perGroup && (a.GroupSize == nil || *a.GroupSize < 1 || *a.GroupSize > 1<<20) {
		return errors.New("weights.group_size: want a positive number for strategy group")
	}
	return nil
}

func newPattern(s string) (pattern, error) {
	expr, ok := strings.CutPrefix(s, "re:")
	if !ok {
		return pattern{text: s}, nil
	}
	if len(expr) > maxPatternBytes {
		return pattern{}, fmt.Errorf("%d bytes exceed %d", len(expr), maxPatternBytes)
	}
	re, err := regexp2.Compile(`\A(?:` + expr + `)`)
	if err != nil {
		return pattern{}, fmt.Errorf("%q: %w", s, err)
	}
	re.MatchTimeout = matchTimeout
	return pattern{s, re}, nil
}

// rank says how closely a pattern names a module: 0 not at all, then by class,
// by regular expression, by name. An expression that takes too long is an error.
func (p pattern) rank(module, class string) (int, error) {
	switch {
	case p.text == module:
		return 3, nil
	case p.re != nil:
		ok, err := p.re.MatchString(module)
		if err != nil {
			return 0, fmt.Errorf("%q takes more than %v to match %q", p.text, matchTimeout, module)
		}
		if ok {
			return 2, nil
		}
	case p.text == class:
		return 1, nil
	}
	return 0, nil
}

// of returns how a module is quantised: the closest target wins, and among
// equals the first in alphabetical order, as the library has it. nil: it is
// not, since no target names it or ignore does.
func (c *config) of(module, class string) (*args, error) {
	for _, p := range c.ignore {
		if r, err := p.rank(module, class); r > 0 || err != nil {
			return nil, err
		}
	}
	best, found := 0, (*args)(nil)
	for _, s := range c.schemes {
		r, err := s.rank(module, class)
		if err != nil {
			return nil, err
		}
		if r > best {
			best, found = r, s.args
		}
	}
	return found, nil
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/hcl/format"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

func newInit(env Env) *cobra.Command {
	var dir, file string
	cmd := &cobra.Command{
		Use:   "init CHECKPOINT",
		Short: "Write a llima.hcl for a checkpoint",
		Long: `Looks at a checkpoint, a folder in Hugging Face's layout or a GGUF file, and
writes a commented llima.hcl that builds it. Weights are not read, and a file
that is there already is not touched.`,
		Example: "  llima init models/Llama-3.2-3B\n  llima init -f - model.gguf",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "-"
			if file != "-" {
				path = file
				if !filepath.IsAbs(file) {
					path = filepath.Join(dir, file)
				}
				if _, err := os.Lstat(path); err == nil {
					return usageError{fmt.Errorf("init: %s is there already; name another file, or look at what it would be:\n    llima init -f - %s", filepath.ToSlash(path), args[0])}
				}
			}
			text, notes, err := configure(args[0], dir, path)
			if err != nil {
				return err
			}
			if path == "-" {
				_, err := env.Stdout.Write(text)
				return err
			}
			if err := createFile(path, text); err != nil {
				return err
			}
			env.warn(notes, map[string][]byte{path: text})
			next := "llima plan"
			switch {
			case filepath.Base(path) != load.FileName:
				next += " -f " + filepath.ToSlash(path)
			case dir != ".":
				next += " -C " + dir
			}
			_, err = fmt.Fprintf(env.Stdout, "wrote %s; next:\n    %s\n", filepath.ToSlash(path), next)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&dir, "chdir", "C", ".", "write into this folder")
	fl.StringVarP(&file, "file", "f", load.FileName, "write this file; - is standard output")
	return cmd
}

// createFile writes a file that must not be there.
func createFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// configure returns the text of a configuration that stands at path, in dir
// where path is -, and what there is to say about it.
func configure(source, dir, path string) ([]byte, diag.List, error) {
	at := path
	if path == "-" {
		at = filepath.Join(dir, load.FileName)
	}
	c, err := inspectCheckpoint(source)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("init: %w", err)}
	}
	if c.Source, err = relativeTo(filepath.Dir(at), source); err != nil {
		return nil, nil, err
	}
	text, _ := format.Source(at, []byte(view.Configuration(c, lang.Quote)))
	cfg, list := load.Source(at, text, load.Options{})
	if list.HasErrors() || len(cfg.Models) != 1 {
		return nil, nil, fmt.Errorf("init: what it wrote for %s has errors: %w", source, list)
	}
	m := cfg.Models[0]
	if len(m.Unsupported) > 0 {
		for i := range m.Unsupported {
			m.Unsupported[i].Severity = diag.Warning
		}
		return text, m.Unsupported, nil
	}
	model, list := planner.Inspect(m)
	if list.HasErrors() {
		return nil, nil, usageError{fmt.Errorf("init: %s", list[0].Detail)}
	}
	if c.Quantised {
		return text, list, nil
	}
	for _, p := range model.Parts {
		c.WeightBytes += p.WeightBytes
		c.FloatBytes += p.FloatBytes
	}
	text, _ = format.Source(at, []byte(view.Configuration(c, lang.Quote)))
	return text, list, nil
}

// relativeTo writes a path as a file in dir names it.
func relativeTo(dir, path string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(from, to); err == nil {
		to = rel
	}
	return filepath.ToSlash(to), nil
}

// checkpointConfig is what config.json says, of the text model where there
// are several.
type checkpointConfig struct {
	ModelType       string            `json:"model_type"`
	NumHiddenLayers int               `json:"num_hidden_layers"`
	HiddenSize      int               `json:"hidden_size"`
	VocabSize       int               `json:"vocab_size"`
	MaxTokens       int               `json:"max_position_embeddings"`
	Text            *checkpointConfig `json:"text_config"`
	Vision          json.RawMessage   `json:"vision_config"`
	Quantization    *struct {
		Method string `json:"quant_method"`
	} `json:"quantization_config"`
}

// inspectCheckpoint reads what a checkpoint says of itself.
func inspectCheckpoint(source string) (*view.Checkpoint, error) {
	info, err := os.Stat(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file or folder %s", source)
	} else if err != nil {
		return nil, err
	}
	c := &view.Checkpoint{Name: modelName(source), Kind: "Hugging Face checkpoint"}
	var raw []byte
	if info.IsDir() {
		raw, err = readFolder(source)
	} else {
		c.Kind, c.Quantised = "GGUF file", true
		raw, err = readGGUF(source)
	}
	if err != nil {
		return nil, err
	}
	var cfg checkpointConfig
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return nil, fmt.Errorf("%s: config.json: %w", source, err)
	}
	c.Architecture, c.Vision = cfg.ModelType, len(cfg.Vision) > 0
	if q := cfg.Quantization; q != nil {
		if q.Method != "compressed-tensors" {
			return nil, fmt.Errorf("%s: config.json: quantization_config.quant_method %q is not supported; take the original checkpoint, or one that is packed as compressed tensors or GGUF", source, q.Method)
		}
		c.Kind, c.Quantised = "checkpoint of compressed tensors", true
	}
	text := &cfg
	if cfg.Text != nil {
		text = cfg.Text
	}
	c.NumHiddenLayers, c.HiddenSize, c.VocabSize, c.MaxTokens = text.NumHiddenLayers, text.HiddenSize, text.VocabSize, text.MaxTokens
	c.ContextTokens, c.StepTokens = suggestContext(c.MaxTokens)
	return c, nil
}

func readFolder(dir string) ([]byte, error) {
	raw, err := checkpoint.ReadConfig(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		return nil, readErr
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".gguf" {
			return nil, fmt.Errorf("%s has no config.json, but a GGUF file:\n    llima init %s", dir, filepath.ToSlash(filepath.Join(dir, e.Name())))
		}
	}
	return nil, fmt.Errorf("%s has no config.json, so it is no checkpoint in Hugging Face's layout", dir)
}

func readGGUF(path string) (raw []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	if err = errors.Join(err, f.Close()); err != nil || string(magic) != "GGUF" {
		return nil, fmt.Errorf("%s is no GGUF file: it does not begin with GGUF. A checkpoint is a folder, or a file of that kind", path)
	}
	m, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return m.Config()
}

// suggestContext returns a context length for a model that was trained for
// limit tokens, 0 where that is not known, and the step of its windows where
// the default does not divide it.
func suggestContext(limit int) (context, step int) {
	const most, window = 2048, 128
	switch {
	case limit <= 0 || limit >= most:
		return most, 0
	case limit >= window:
		return limit / window * window, 0
	}
	return limit, limit
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// modelName makes the name of a model from a path.
func modelName(source string) string {
	abs, err := filepath.Abs(source)
	if err != nil {
		abs = source
	}
	name := filepath.Base(abs)
	if ext := filepath.Ext(name); ext == ".gguf" {
		name = strings.TrimSuffix(name, ext)
	}
	name = strings.Trim(notInName.ReplaceAllString(name, "-"), "-.")
	if len(name) > 60 {
		name = strings.Trim(name[:60], "-.")
	}
	if name == "" {
		return "model"
	}
	return name
}

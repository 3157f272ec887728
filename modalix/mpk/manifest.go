package mpk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/document"
)

// Manifest is mpk.json, with the fields of the vendor's public files.
type Manifest struct {
	Name            string   `json:"name"`
	ModelSDKVersion string   `json:"model_sdk_version"`
	InputNodes      []Node   `json:"input_nodes"`
	Plugins         []Plugin `json:"plugins"`
}

// Node is a buffer that the host passes in or takes out.
type Node struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // "buffer"
	Size  int64  `json:"size"` // bytes
	DType string `json:"dtype,omitempty"`
	Shape []int  `json:"shape,omitempty"`
}

// Plugin is one program.
type Plugin struct {
	Name         string       `json:"name"`
	Sequence     int          `json:"sequence"`
	Processor    string       `json:"processor"` // "MLA"
	ConfigParams ConfigParams `json:"config_params"`
	InputNodes   []Node       `json:"input_nodes"`
	OutputNodes  []Node       `json:"output_nodes"`
	Resources    Resources    `json:"resources"`
	Weights      []External   `json:"weights,omitempty"`
}

// External says in which archive an object lies that holds a segment of this
// program: the object whose segment has that digest.
type External struct {
	Segment string `json:"segment"` // "WEIGHTS"
	Digest  string `json:"digest"`  // "sha256:<64 hex digits>"
	Archive string `json:"archive"` // file name
}

// ConfigParams are a program's parameters.
type ConfigParams struct {
	DesiredBatchSize    int      `json:"desired_batch_size"`
	ActualBatchSize     int      `json:"actual_batch_size"`
	NumberOfQuadsToUser int      `json:"number_of_quads_to_user"`
	InputTypes          []Scalar `json:"input_types"`
	OutputTypes         []Scalar `json:"output_types"`
}

// Scalar is an element type with a shape.
type Scalar struct {
	Scalar string `json:"scalar"`
	Shape  []int  `json:"shape"`
}

// Resources names the object of a program.
type Resources struct {
	Executable string `json:"executable"`
}

// Buffer is a symbol of an object: a host buffer by its name, "in.hidden" or
// "out.q", and its bytes.
type Buffer struct {
	Name string
	Size int64
}

// Program is an object of an archive: its file name, how many quads it uses,
// its symbols, and the segments that it finds in another object.
type Program struct {
	File    string
	Quads   int
	Symbols []Buffer
	Weights []External
}

// NewManifest describes the programs, one plugin each in the order given.
// Element types are not in an object, so buffers are given as bytes.
func NewManifest(name, version string, programs []Program) Manifest {
	m := Manifest{Name: name, ModelSDKVersion: version, InputNodes: []Node{}, Plugins: []Plugin{}}
	for i, p := range programs {
		plugin := Plugin{
			Name: fmt.Sprintf("MLA_%d", i), Sequence: i + 1, Processor: "MLA",
			ConfigParams: ConfigParams{
				DesiredBatchSize: 1, ActualBatchSize: 1, NumberOfQuadsToUser: p.Quads, InputTypes: []Scalar{}, OutputTypes: []Scalar{},
			},
			InputNodes: []Node{}, OutputNodes: []Node{}, Resources: Resources{p.File}, Weights: p.Weights,
		}
		for _, s := range p.Symbols {
			node := Node{Name: s.Name, Type: "buffer", Size: s.Size}
			scalar := Scalar{"uint8", []int{int(s.Size)}}
			switch {
			case strings.HasPrefix(s.Name, "in."):
				plugin.InputNodes = append(plugin.InputNodes, node)
				plugin.ConfigParams.InputTypes = append(plugin.ConfigParams.InputTypes, scalar)
				if !slices.ContainsFunc(m.InputNodes, func(n Node) bool { return n.Name == node.Name && n.Size == node.Size }) {
					m.InputNodes = append(m.InputNodes, node)
				}
			case strings.HasPrefix(s.Name, "out."):
				plugin.OutputNodes = append(plugin.OutputNodes, node)
				plugin.ConfigParams.OutputTypes = append(plugin.ConfigParams.OutputTypes, scalar)
			}
		}
		m.Plugins = append(m.Plugins, plugin)
	}
	return m
}

func (m *Manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decodeManifest reads mpk.json. Keys that it does not know are ignored, as
// other versions may write them; a key that stands twice is an error.
func decodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := checkKeys(b); err != nil {
		return m, err
	}
	return m, document.Decode(b, &m)
}

// checkKeys walks a JSON document and refuses duplicate keys in an object.
// Keys that differ only in case count as equal, because readers may fold it.
func checkKeys(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // the next token is a value
	}
	var stack []level
	const maxDepth = 64
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("offset %d: %w", d.InputOffset(), err)
		}
		if delim, ok := token.(json.Delim); ok {
			switch delim {
			case '{':
				stack = append(stack, level{keys: make(map[string]bool)})
			case '[':
				stack = append(stack, level{})
			default:
				stack = stack[:len(stack)-1]
				if n := len(stack); n > 0 {
					stack[n-1].value = false
				}
			}
			if len(stack) > maxDepth {
				return fmt.Errorf("offset %d: more than %d levels", d.InputOffset(), maxDepth)
			}
			continue
		}
		if len(stack) == 0 {
			continue
		}
		top := &stack[len(stack)-1]
		if top.keys == nil || top.value {
			top.value = false
			continue
		}
		key, _ := token.(string)
		folded := strings.ToLower(key)
		if top.keys[folded] {
			return fmt.Errorf("offset %d: key %q stands twice", d.InputOffset(), key)
		}
		top.keys[folded], top.value = true, true
	}
}

package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/document"
)

// parseIndex returns the weight_map of an index: tensor name to shard name.
// Other keys of the index are passed over.
func parseIndex(data []byte) (map[string]string, error) {
	var index struct {
		WeightMap json.RawMessage `json:"weight_map"`
	}
	if err := document.Decode(data, &index); err != nil {
		return nil, err
	}
	if index.WeightMap == nil {
		return nil, errors.New("no weight_map")
	}
	m, err := uniqueStrings(index.WeightMap)
	if err != nil {
		return nil, err
	}
	if len(m) == 0 {
		return nil, errors.New("weight_map is empty")
	}
	for _, name := range sortedKeys(m) {
		if err := checkBase(m[name]); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return m, nil
}

// uniqueStrings reads an object of strings whose keys may not repeat.
func uniqueStrings(object []byte) (map[string]string, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, errors.New("weight_map is not an object")
	}
	m := map[string]string{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		value, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, isName := key.(string)
		file, isFile := value.(string)
		if !isName || !isFile {
			return nil, fmt.Errorf("weight_map: the file of tensor %q is not a string", key)
		}
		if _, ok := m[name]; ok {
			return nil, fmt.Errorf("weight_map names tensor %q twice", name)
		}
		m[name] = file
	}
	return m, nil
}

func shardNames(index map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(index)))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// checkBase refuses names that lead out of the folder, on any system.
func checkBase(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\:\x00") || !filepath.IsLocal(name) {
		return fmt.Errorf("%q is not the name of a file in the folder", name)
	}
	return nil
}

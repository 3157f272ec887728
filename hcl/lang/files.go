package lang

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Limits of what file functions read.
const (
	maxFileBytes = 1 << 20
	maxWalked    = 1 << 16
)

// Files is the folder that file functions can see, and what they asked for.
type Files struct {
	Root string // folder of llima.hcl

	mu    sync.Mutex
	reads map[string]struct{}
}

// Reads returns the paths that functions asked for, relative to the root with
// forward slashes, sorted. A path that did not exist counts too.
func (f *Files) Reads() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.reads))
}

func (f *Files) record(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reads == nil {
		f.reads = map[string]struct{}{}
	}
	f.reads[name] = struct{}{}
}

// open returns the root and the cleaned name below it. Links that lead out of
// the root are refused by the operating system's own path walk.
func (f *Files) open(name string) (*os.Root, string, error) {
	clean := path.Clean(filepath.ToSlash(name))
	if !filepath.IsLocal(filepath.FromSlash(clean)) {
		return nil, "", fmt.Errorf("%q leaves the folder of llima.hcl; functions read only below it", name)
	}
	root, err := os.OpenRoot(f.Root)
	return root, clean, err
}

func (f *Files) read(name string) (string, error) {
	root, clean, err := f.open(name)
	if err != nil {
		return "", err
	}
	defer root.Close() //nolint:errcheck // only read from
	f.record(clean)
	info, err := root.Stat(clean)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q: %w", name, unwrapPath(err))
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%q is not a file", name)
	case info.Size() > maxFileBytes:
		return "", fmt.Errorf("%q has %d bytes; functions read at most %d", name, info.Size(), maxFileBytes)
	}
	data, err := root.ReadFile(clean)
	if err != nil {
		return "", fmt.Errorf("%q: %w", name, unwrapPath(err))
	}
	if !utf8.Valid(data) {
		return "", fmt.Errorf("%q is not UTF-8 text", name)
	}
	return string(data), nil
}

// unwrapPath drops the path of an error whose message names it already.
func unwrapPath(err error) error {
	if pe, ok := err.(*fs.PathError); ok { //nolint:errorlint // only the outermost layer is dropped
		return pe.Err
	}
	return err
}

func (f *Files) fileFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := f.read(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			return cty.StringVal(text), nil
		},
	})
}

func (f *Files) existsFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			root, clean, err := f.open(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.Bool), function.NewArgError(0, err)
			}
			defer root.Close() //nolint:errcheck // only read from
			f.record(clean)
			info, err := root.Stat(clean)
			return cty.BoolVal(err == nil && info.Mode().IsRegular()), nil
		},
	})
}

func (f *Files) setFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			found, err := f.set(args[0].AsString(), args[1].AsString())
			if err != nil {
				return cty.UnknownVal(cty.Set(cty.String)), err
			}
			if len(found) == 0 {
				return cty.SetValEmpty(cty.String), nil
			}
			return cty.SetVal(found), nil
		},
	})
}

// set returns the regular files below dir whose path relative to dir matches
// pattern, in which ** stands for any number of folders.
func (f *Files) set(dir, pattern string) ([]cty.Value, error) {
	root, clean, err := f.open(dir)
	if err != nil {
		return nil, function.NewArgError(0, err)
	}
	defer root.Close() //nolint:errcheck // only read from
	if _, err = path.Match(pattern, ""); err != nil {
		return nil, function.NewArgError(1, err)
	}
	if strings.Count(pattern, "**") > 3 {
		return nil, function.NewArgErrorf(1, "%q has more than three **", pattern)
	}
	f.record(path.Join(clean, pattern))
	var found []cty.Value
	walked := 0
	err = fs.WalkDir(root.FS(), clean, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return unwrapPath(err)
		}
		if walked++; walked > maxWalked {
			return fmt.Errorf("%q holds more than %d files", dir, maxWalked)
		}
		if name != clean && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		rel := name
		if clean != "." {
			rel = strings.TrimPrefix(name, clean+"/")
		}
		if d.Type().IsRegular() && matchPath(strings.Split(pattern, "/"), strings.Split(rel, "/")) {
			found = append(found, cty.StringVal(rel))
		}
		return nil
	})
	if err != nil {
		return nil, function.NewArgError(0, err)
	}
	return found, nil
}

func matchPath(pattern, name []string) bool {
	for len(pattern) > 0 && pattern[0] != "**" {
		if len(name) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], name[0]); !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	if len(pattern) == 0 {
		return len(name) == 0
	}
	for i := range len(name) + 1 {
		if matchPath(pattern[1:], name[i:]) {
			return true
		}
	}
	return false
}

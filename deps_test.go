package llima_test // the root holds only this test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// depsRules is the architecture: each line names a package and the packages
// of this module that its non-test files may import. It is a statement of
// policy: keep only lines of packages that exist, and widen none to fix a build.
const depsRules = `
internal/addr:
internal/diag:
internal/document:
internal/doctable:
internal/cursor:
internal/atomicio:
internal/mmap:
internal/ordered:
internal/plot:

formats/tensor:
formats/safetensors: formats/tensor internal/cursor internal/mmap
formats/gguf:        formats/tensor formats/tokenizer internal/cursor internal/mmap
formats/npy:         formats/tensor internal/cursor
formats/onnx:        internal/cursor
formats/onnx/eval:   formats/onnx formats/tensor internal/ordered
formats/onnx/gradient: formats/onnx formats/onnx/eval internal/ordered
formats/tokenizer:   internal/document
formats/chat:        internal/document
formats/dataset:     formats/parquet formats/tokenizer internal/mmap
formats/parquet:
formats/checkpoint:  formats/tensor formats/safetensors internal/document
formats/compressedtensors: formats/tensor formats/checkpoint
formats/source: formats/checkpoint formats/compressedtensors formats/gguf formats/safetensors formats/tensor
formats/arch:        formats/tensor formats/onnx internal/addr internal/document

quant/kern:    formats/tensor
quant:         formats/tensor quant/kern
quant/rewrite: formats/onnx formats/tensor quant
quant/calib:   formats/tensor quant internal/ordered
quant/walk:    formats/arch formats/onnx formats/onnx/eval formats/onnx/gradient formats/tensor internal/addr internal/ordered quant quant/calib

hcl/config: internal/addr internal/diag
hcl/lang:   internal/addr internal/diag hcl/config
hcl/load:   internal/addr internal/diag hcl/config hcl/lang
hcl/format: internal/diag hcl/lang
hcl/python: internal/diag hcl/lang
hcl/vendor: internal/addr internal/diag hcl/config hcl/lang hcl/load hcl/format hcl/python

hcl/lockfile: internal/diag hcl/lang

planner/fingerprint:
planner: internal/addr internal/diag hcl/config formats/arch formats/source formats/tensor quant planner/fingerprint

executor/store: internal/addr internal/atomicio internal/mmap formats/source planner planner/fingerprint
executor:       internal/addr internal/mmap formats/source planner planner/fingerprint executor/store
executor/stage: internal/addr internal/document internal/mmap formats/chat formats/dataset quant/calib quant/walk executor executor/store planner planner/fingerprint hcl/config formats/arch formats/npy formats/onnx formats/source formats/tensor formats/tokenizer quant quant/rewrite

modalix/isa:
modalix/ir:      formats/onnx formats/tensor
modalix/lower:   formats/tensor modalix/isa modalix/ir
modalix/encode:  modalix/isa modalix/lower
modalix/mpk:     internal/document
modalix/emu/kern:
modalix/emu:     modalix/isa modalix/emu/kern internal/cursor
modalix/runtime: modalix/emu modalix/isa formats/tensor formats/npy formats/tokenizer formats/chat internal/addr internal/document internal/mmap
modalix/measure: modalix/runtime formats/chat formats/dataset internal/addr internal/document
modalix:         modalix/ir modalix/lower modalix/encode formats/onnx

cmd/internal/view: internal/addr internal/diag hcl/config planner planner/fingerprint executor
cmd/internal/cli:  cmd/internal/view internal/addr internal/atomicio internal/diag internal/mmap internal/plot hcl/config hcl/lang hcl/load hcl/format hcl/lockfile hcl/vendor planner executor executor/store executor/stage formats/checkpoint formats/dataset formats/gguf formats/npy formats/onnx modalix modalix/emu modalix/isa modalix/mpk modalix/measure modalix/runtime
cmd/llima:         cmd/internal/cli
cmd/llima-compile: cmd/internal/cli
`

const modulePath = "github.com/llima-build/llima/"

func TestDependencies(t *testing.T) {
	allowed := map[string][]string{}
	for line := range strings.Lines(depsRules) {
		if pkg, deps, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			allowed[pkg] = strings.Fields(deps)
		}
	}
	documented := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "examples" || d.Name() == "kernelgen" || // another module, of whoever writes assembly
			strings.HasPrefix(d.Name(), ".") && name != ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(name))
		documented[pkg] = documented[pkg] || f.Doc != nil
		rule, known := allowed[pkg]
		if !known && pkg != "." {
			t.Errorf("%s: package %s has no line in depsRules", name, pkg)
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			dep, ours := strings.CutPrefix(imp, modulePath)
			if ours && !slices.Contains(rule, dep) {
				t.Errorf("%s: %s must not import %s", name, pkg, dep)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment", pkg)
		}
	}
	for pkg := range allowed {
		if !documented[pkg] {
			t.Errorf("depsRules names %s, which does not exist", pkg)
		}
	}
}

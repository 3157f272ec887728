package stage

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// pack publishes everything that a model's targets made into its output folder.
type pack struct{}

// folders says where the outputs of a stage are published.
var folders = map[addr.Stage]string{
	addr.Devkit:         "sima_files/devkit",
	addr.ONNX:           "onnx_files",
	addr.Quantize:       "sima_files/model_sdk",
	addr.ModelSDKDirect: "sima_files/model_sdk",
	addr.SourceToQuant:  "sima_files/model_sdk",
	addr.Compile:        "sima_files/elf_files",
	addr.MPK:            "sima_files/mpk",
}

// Run implements [executor.Stage].
func (pack) Run(_ context.Context, a *executor.Action) error {
	m := a.Target.Model
	var entries []store.Entry
	has := map[addr.Stage]bool{}
	for _, in := range a.Inputs() {
		if in.From.Addr.Stage == addr.Calibrate {
			continue // one document for all
		}
		has[in.From.Addr.Stage] = true
		folder, ok := folders[in.From.Addr.Stage]
		if !ok {
			return fmt.Errorf("llima: internal error: no folder for stage %s", in.From.Addr.Stage)
		}
		e := store.Entry{
			Path: path.Join(folder, in.Name), Source: in.Digest,
			NoLink: noLink(in.Name),
		}
		if in.Tensor != "" {
			w, ok := m.Checkpoint.Weight(in.Tensor)
			if !ok || !w.Raw {
				return fmt.Errorf("the checkpoint lacks tensor %q as it is", in.Tensor)
			}
			p := w.Parts[0]
			e.File, e.Offset, e.Length = filepath.Join(m.Checkpoint.Dir(), p.File), p.Offset, p.Length
		}
		entries = append(entries, e)
	}
	for _, src := range a.Target.Sources {
		name, ok := strings.CutPrefix(src.Name, "shard/")
		if !ok || !has[addr.ONNX] {
			continue
		}
		digest, err := a.SourceDigest(src)
		if err != nil {
			return err
		}
		entries = append(entries, store.Entry{Path: "onnx_files/" + name, Source: digest, File: src.Path})
	}
	calibration, err := calibrationOf(a)
	if err != nil {
		return err
	}
	for _, doc := range []struct {
		path   string
		wanted bool
		value  any
	}{
		{"sima_files/devkit/calibration.json", calibration != nil && has[addr.Devkit], calibration},
		{"sima_files/devkit/precision.json", has[addr.Devkit], m.Precisions()},
		{"sima_files/elf_files/index.json", has[addr.Compile] || len(m.Programs()) == 0, index{1, m.Programs()}},
	} {
		if !doc.wanted {
			continue
		}
		b, err := marshal(doc.value)
		if err != nil {
			return err
		}
		name := path.Base(doc.path)
		if err := a.WriteFile(name, b); err != nil {
			return err
		}
		kept, err := a.Keep(name)
		if err != nil {
			return err
		}
		entries = append(entries, store.Entry{Path: doc.path, Source: kept.Digest})
	}
	a.Publish(entries)
	return nil
}

// noLink tells what readers of ONNX open as external data: it must have no
// second link.
func noLink(name string) bool { return strings.HasPrefix(name, "weights/") }

// index is elf_files/index.json: which program each part of each layer has.
type index struct {
	FormatVersion int               `json:"format_version"`
	Programs      []planner.Program `json:"programs"`
}

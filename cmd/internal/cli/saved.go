package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/planner"
)

// savePlan writes the plan of a workspace that was opened for patterns.
func (f *projectFlags) savePlan(path string, w *workspace, patterns []string) error {
	file, err := f.find()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	r := planner.Request{Targets: patterns, Vars: f.vars, Variables: savedVariables(w)}
	if r.Targets == nil {
		r.Targets = []string{}
	}
	if r.File, err = relative(dir, file); err != nil {
		return err
	}
	for _, v := range f.varFiles {
		rel, err := relative(dir, v)
		if err != nil {
			return err
		}
		r.VarFiles = append(r.VarFiles, rel)
	}
	var b bytes.Buffer
	if err := planner.Save(&b, r, w.plan); err != nil {
		return err
	}
	return atomicio.WriteFile(path, b.Bytes(), 0o644)
}

func savedVariables(w *workspace) []planner.SavedVariable {
	out := []planner.SavedVariable{}
	for _, v := range w.cfg.Variables {
		out = append(out, planner.SavedVariable{Name: v.Name, Value: v.Value, From: v.From})
	}
	return out
}

// relative returns a path relative to a folder, with slashes.
func relative(dir, path string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, path)
	return filepath.ToSlash(rel), err
}

// savedPlan is a saved plan that a command line names.
type savedPlan struct {
	path string
	plan *planner.SavedPlan
}

// resume reads the saved plan that args name, and sets the flags to what it
// was made with; nil where args are targets. patterns are those to build.
func (f *projectFlags) resume(cmd *cobra.Command, args []string) (saved *savedPlan, patterns []string, err error) {
	if len(args) == 0 {
		return nil, args, nil
	}
	for _, arg := range args {
		if !startsAsPlan(arg) {
			continue
		}
		if len(args) > 1 {
			return nil, nil, usageError{fmt.Errorf("%s is a saved plan, which says itself what to build: name nothing beside it", arg)}
		}
		for _, name := range []string{"chdir", "file", "var", "var-file"} {
			if cmd.Flags().Changed(name) {
				return nil, nil, usageError{fmt.Errorf("%s is a saved plan, which holds what --%s was when it was made: leave the flag out", arg, name)}
			}
		}
		return f.readPlan(arg)
	}
	return nil, args, nil
}

func startsAsPlan(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // opened for reading
	start := make([]byte, 64)
	n, err := io.ReadFull(file, start)
	return (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) && planner.IsSavedPlan(start[:n])
}

func (f *projectFlags) readPlan(path string) (*savedPlan, []string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close() //nolint:errcheck // opened for reading
	plan, err := planner.ReadSaved(file)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("%s: not a whole plan: %w\n  make it again:\n    llima plan -o %s", path, err, path)}
	}
	dir := filepath.Dir(path)
	f.dir, f.file, f.vars, f.varFiles = ".", filepath.Join(dir, filepath.FromSlash(plan.Request.File)), plan.Request.Vars, nil
	for _, v := range plan.Request.VarFiles {
		f.varFiles = append(f.varFiles, filepath.Join(dir, filepath.FromSlash(v)))
	}
	return &savedPlan{path, plan}, plan.Request.Targets, nil
}

// check refuses a plan that is not what would be done now.
func (s *savedPlan) check(env Env, w *workspace) error {
	if s == nil {
		return nil
	}
	now := savedVariables(w)
	var changed strings.Builder
	was := map[string]planner.SavedVariable{}
	for _, v := range s.plan.Request.Variables {
		was[v.Name] = v
	}
	for _, v := range now {
		if old, ok := was[v.Name]; ok && old.Value != v.Value {
			fmt.Fprintf(&changed, "\n  var.%s was %s (from %s), is %s (from %s)", v.Name, old.Value, old.From, v.Value, v.From)
		}
	}
	drift := s.plan.Drift(w.plan, w.store)
	if changed.Len() == 0 && len(drift) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s is stale, so nothing was built: what it was made from has changed since", s.path) + changed.String()
	if len(drift) > 0 {
		text += "\n" + strings.TrimRight(view.Drift(drift, env.errColumns()), "\n")
	}
	return usageError{errors.New(text + "\n  make it again, and look at it:\n    llima plan -o " + s.path)}
}

// errColumns is the width of the terminal that errors go to, 0 where they go
// elsewhere.
func (e Env) errColumns() int {
	if e.StderrTerminal {
		return e.Columns
	}
	return 0
}

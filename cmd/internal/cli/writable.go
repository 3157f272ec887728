package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

// writable reports output folders that a build could not publish into: before
// it runs for minutes, not after. It leaves nothing behind.
func (w *workspace) writable() error {
	var list diag.List
	for _, m := range w.graph.Models {
		if !publishes(m) {
			continue
		}
		if err := tryFolder(m.Config.Output); err != nil {
			r := m.Config.Decl
			text := strings.ReplaceAll(err.Error(), w.cfg.Root+string(filepath.Separator), "")
			list = append(list, diag.Diagnostic{
				Severity: diag.Error, Summary: "Output folder is not writable", Subject: &r,
				Detail: fmt.Sprintf("Model %q is published into %s: %s. Set output to a folder that you may write to.", m.Config.Name, m.Config.OutputText, text),
			})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return diagError{list.Sorted(), w.cfg.Sources}
}

func publishes(m *planner.Model) bool {
	for _, t := range m.Targets {
		if t.Addr.Stage == addr.Package {
			return true
		}
	}
	return false
}

// tryFolder makes a file in a folder, or in what there is of its path, and
// removes it.
func tryFolder(dir string) error {
	st, err := os.Stat(dir)
	for ; err != nil; st, err = os.Stat(dir) {
		parent := filepath.Dir(dir)
		if parent == dir {
			return err
		}
		dir = parent
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is a file", dir)
	}
	f, err := os.CreateTemp(dir, ".llima-try-")
	if err != nil {
		return fmt.Errorf("no file can be made in %s: %w", dir, errors.Unwrap(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

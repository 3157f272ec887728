package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
)

// cleanFlags are those of llima clean.
type cleanFlags struct {
	project                               projectFlags
	orphans, cache, dryRun, force, noWait bool
}

func newClean(env Env) *cobra.Command {
	var f cleanFlags
	cmd := &cobra.Command{
		Use:   "clean [MODEL...]",
		Short: "Remove outputs, what no model publishes any more, or what the store keeps",
		Long: `Removes the published files of the named models, or of all of them, and says
how many bytes the disk gains. Only files that a record of a build lists go; if
one of them is not as the build left it, nothing does unless --force is given.
What was made stays in the store, so that the next build only publishes it.

With --orphans or --cache, outputs go only of models that are named.`,
		Example: `  llima clean --dry-run
  llima clean --orphans --cache
  llima clean tuned-long`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(env, cmd, args) },
	}
	f.project.register(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.orphans, "orphans", false, "outputs of models that llima.hcl does not have any more, and folders that models have left")
	fl.BoolVar(&f.cache, "cache", false, "what the store keeps and no fresh target needs")
	fl.BoolVarP(&f.dryRun, "dry-run", "n", false, "say what would go, and remove nothing")
	fl.BoolVar(&f.force, "force", false, "remove files that are not as a build left them too")
	fl.BoolVar(&f.noWait, "no-wait", false, "fail, with exit code 5, where a build is running")
	return cmd
}

func (f *cleanFlags) run(env Env, cmd *cobra.Command, args []string) (err error) {
	cfg, err := f.project.load(env)
	if err != nil {
		return err
	}
	st, err := openStore(cfg, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if !st.Exists() {
		view.Clean(env.Stdout, nil, 0, f.dryRun)
		return nil
	}
	if err := st.Create(); err != nil {
		return err
	}
	locks := st.Locks(holder(), func(held *store.HeldError) error {
		if f.noWait {
			return held
		}
		fmt.Fprintln(env.Stderr, "waiting:", held)
		return nil
	})
	defer func() { err = errors.Join(err, locks.Release()) }()
	if err := locks.Alone(cmd.Context()); err != nil {
		return buildError(cmd.Context(), err)
	}
	sweep, err := f.collect(st, cfg, args)
	if err != nil {
		return err
	}
	if len(sweep.Changed) > 0 && !f.force {
		return errors.New(view.ChangedFiles(sweep.Changed))
	}
	swept, freed := summary(sweep, cfg.Root), sweep.FreedBytes()
	if !f.dryRun {
		if err := errors.Join(sweep.Remove(), st.Flush()); err != nil {
			return err
		}
	}
	view.Clean(env.Stdout, swept, freed, f.dryRun)
	return nil
}

// collect finds what goes. The outputs of all models go where nothing else is
// asked for.
func (f *cleanFlags) collect(st *store.Store, cfg *config.Config, patterns []string) (*store.Sweep, error) {
	var models []string
	for _, m := range cfg.Models {
		models = append(models, m.Name)
	}
	sweep := st.NewSweep()
	known, err := st.Models()
	if err != nil {
		return nil, err
	}
	if len(patterns) == 0 && !f.orphans && !f.cache {
		for _, m := range models {
			sweep.Outputs(m)
		}
	}
	all := slices.Concat(models, known)
	slices.Sort(all)
	all = slices.Compact(all)
	chosen := map[string]bool{}
	for _, p := range patterns {
		found := false
		for _, m := range all {
			ok, err := addr.Match(p, addr.Target{Model: m})
			if err != nil {
				return nil, usageError{err}
			}
			if found = found || ok; ok && !chosen[m] {
				chosen[m] = true
				sweep.Outputs(m)
			}
		}
		if !found {
			return nil, usageError{fmt.Errorf("%s: no such model here, and no record of one", p)}
		}
	}
	if f.orphans {
		if err := sweep.Orphans(append(models, hiddenNames(cfg)...)); err != nil {
			return nil, err
		}
	}
	if f.cache {
		if err := sweep.Cache(); err != nil {
			return nil, err
		}
	}
	return sweep, nil
}

// summary adds files up by model and folder.
func summary(sweep *store.Sweep, root string) []view.Swept {
	var out []view.Swept
	at := map[string]int{}
	for _, file := range sweep.Files {
		i, ok := at[file.Model]
		if !ok {
			i = len(out)
			at[file.Model] = i
			out = append(out, view.Swept{Name: file.Model, Folder: filepath.Dir(file.Path)})
		}
		s := &out[i]
		s.Files++
		s.Bytes += file.Size
		s.Folder = common(s.Folder, filepath.Dir(file.Path))
	}
	for i := range out {
		if rel, err := filepath.Rel(root, out[i].Folder); err == nil {
			out[i].Folder = filepath.ToSlash(rel)
		}
	}
	return out
}

// common returns the deepest folder that holds both.
func common(a, b string) string {
	for a != b {
		if len(a) > len(b) {
			a = filepath.Dir(a)
		} else {
			b = filepath.Dir(b)
		}
	}
	return a
}

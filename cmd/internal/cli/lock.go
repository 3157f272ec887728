package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/lockfile"
	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/planner"
)

func newLock(env Env) *cobra.Command {
	var project projectFlags
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Write the digests of all source files to llima.lock.hcl",
		Long: `Writes ` + lockfile.Name + ` beside llima.hcl: the digest of every file that the models
of llima.hcl are built from. Check it in; plan --locked and build --locked
refuse other files.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) (err error) {
			cfg, err := project.load(env)
			if err != nil {
				return err
			}
			w, err := newWorkspace(env, cfg, nil)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			old, err := w.readLock()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				if _, damaged := errors.AsType[diagError](err); !damaged {
					return err
				}
			}
			now, err := w.graph.LockedFiles(cfg.Root, w.store)
			if err != nil {
				return err
			}
			digests := map[string]string{}
			for _, f := range now {
				digests[f.Path] = string(f.Digest)
			}
			if err := atomicio.WriteFile(filepath.Join(cfg.Root, lockfile.Name), lockfile.Encode(digests), 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprint(env.Stdout, view.LockWritten(lockfile.Name, len(now), planner.CompareLock(old, now, true)))
			return errors.Join(err, w.store.Flush())
		},
	}
	project.register(cmd)
	return cmd
}

// readLock reads the project's lock file.
func (w *workspace) readLock() (map[string]string, error) {
	path := filepath.Join(w.cfg.Root, lockfile.Name)
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	digests, diags := lockfile.Decode(lockfile.Name, src)
	if diags.HasErrors() {
		return nil, diagError{diags, map[string][]byte{lockfile.Name: src}}
	}
	return digests, nil
}

// checkLock refuses source files that are not those of the lock file.
// patterns are the targets that were asked for: what others read may be locked
// besides.
func (w *workspace) checkLock(patterns []string) error {
	locked, err := w.readLock()
	if errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("--locked: there is no %s beside llima.hcl\n  to lock the files that are there:\n    llima lock", lockfile.Name)}
	}
	if err != nil {
		return err
	}
	now, err := w.graph.LockedFiles(w.cfg.Root, w.store)
	if err = errors.Join(err, w.store.Flush()); err != nil {
		return err
	}
	drift := planner.CompareLock(locked, now, len(patterns) == 0 && len(w.cfg.DefaultTargets) == 0)
	if len(drift) == 0 {
		return nil
	}
	return usageError{errors.New(strings.TrimRight(view.LockDrift(lockfile.Name, drift), "\n") + "\n  to accept what is there:\n    llima lock")}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/stage"
	"github.com/llima-build/llima/executor/store"
)

// lockedError says that another build holds the lock.
type lockedError struct{ held *store.HeldError }

func (e lockedError) Error() string {
	return e.held.Error() + "\n  it has the lock; run this again later, or leave out --no-wait to wait for it"
}

func newBuild(env Env) *cobra.Command {
	var (
		project   projectFlags
		jobs      int
		keepGoing bool
		noWait    bool
		progress  string
	)
	cmd := &cobra.Command{
		Use:   "build [TARGET...]",
		Short: "Make targets fresh: run what is stale, nothing else",
		Long: `Builds the named models, or all of them. A target is named as llima plan
prints it; * and ? match, and a model's name alone is all of it.

A build that is interrupted keeps what it finished; the next one goes on.`,
		Example: `  llima build
  llima build tuned-long 'tuned-*:quantize'`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			start := env.Now()
			if !slices.Contains([]string{"auto", "tty", "plain", "quiet"}, progress) {
				return usageError{fmt.Errorf("--progress %s: want auto, tty, plain or quiet", progress)}
			}
			w, err := project.open(env, args)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			if err := w.buildable(); err != nil {
				return err
			}
			if progress == "auto" {
				progress = "plain"
				if env.StderrTerminal && env.Getenv("TERM") != "dumb" && env.Getenv("CI") == "" {
					progress = "tty"
				}
			}
			if !w.plan.Stale() {
				if progress != "quiet" {
					view.NothingToDo(env.Stderr, w.plan)
				}
				return nil
			}
			p := view.NewProgress(env.Stderr, progress, env.Columns, env.color(progress == "tty"), env.Now)
			sum, err := executor.Build(cmd.Context(), w.graph, w.store, executor.Options{
				Jobs: jobs, KeepGoing: keepGoing, NoWait: noWait,
				Stages: stage.List(modalixBackend{}), Now: env.Now, Holder: holder(), Events: p.Event,
			})
			p.Close()
			if held, ok := errors.AsType[*store.HeldError](err); ok {
				return lockedError{held}
			}
			if cmd.Context().Err() != nil {
				return context.Canceled
			}
			if err != nil {
				return err
			}
			if progress != "quiet" {
				view.Built(env.Stderr, w.plan, sum, env.Now().Sub(start))
			}
			return nil
		},
	}
	project.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&jobs, "jobs", "j", runtime.NumCPU(), "how many targets to build at once")
	fl.BoolVarP(&keepGoing, "keep-going", "k", false, "build what does not depend on a failed target")
	fl.BoolVar(&noWait, "no-wait", false, "fail, with exit code 5, where another build has the lock")
	fl.StringVar(&progress, "progress", "auto", "how to show progress: auto, tty, plain or quiet")
	return cmd
}

// holder is what a lock says of this process.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s: %s", os.Getpid(), host, strings.Join(os.Args, " "))
}

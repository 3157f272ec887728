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
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// lockedError says that another process holds a lock.
type lockedError struct{ held *store.HeldError }

func (e lockedError) Error() string {
	return e.held.Error() + "\n  it has the lock; run this again later, or leave out --no-wait to wait for it"
}

// buildFlags are those of llima build.
type buildFlags struct {
	project      projectFlags
	jobs         int
	keepGoing    bool
	noWait       bool
	check        bool
	force        bool
	noSpaceCheck bool
	locked       bool
	maxMemory    string
	progress     string

	events func(executor.Event) // sees each event first; may be nil
}

func newBuild(env Env) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [TARGET... | PLAN]",
		Short: "Make targets fresh: run what is stale, nothing else",
		Long: `Builds the named models, or all of them. A target is named as llima plan
prints it; * and ? match, and a model's name alone is all of it.

PLAN is a file that llima plan -o wrote: it is built if nothing that it was made
from has changed since, and refused otherwise.

A build that is interrupted keeps what it finished; the next one goes on. What
the executor block of llima.hcl says holds where no flag is given.`,
		Example: `  llima build
  llima build tuned-long 'tuned-*:quantize'
  llima build --force 'tuned-long:compile:*'`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(env, cmd, args) },
	}
	f.project.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&f.jobs, "jobs", "j", runtime.NumCPU(), "how many targets to build at once")
	fl.BoolVarP(&f.keepGoing, "keep-going", "k", false, "build what does not depend on a failed target")
	fl.StringVar(&f.maxMemory, "max-memory", "", "run only as many targets at once as are estimated to fit, 16GiB for example")
	fl.BoolVar(&f.check, "check", false, "run every target once more and compare the results, before publishing")
	fl.BoolVar(&f.force, "force", false, "run the named targets even where they are fresh")
	fl.BoolVar(&f.noWait, "no-wait", false, "fail, with exit code 5, where another build has the lock")
	fl.BoolVar(&f.noSpaceCheck, "no-space-check", false, "begin even where the disk may be too small")
	fl.BoolVar(&f.locked, "locked", false, "refuse source files that are not those of llima.lock.hcl")
	fl.StringVar(&f.progress, "progress", "auto", "how to show progress: auto, tty, plain or quiet")
	return cmd
}

func (f *buildFlags) run(env Env, cmd *cobra.Command, args []string) (err error) {
	start := env.Now()
	mode, err := progressMode(env, f.progress)
	if err != nil {
		return err
	}
	saved, patterns, err := f.project.resume(cmd, args)
	if err != nil {
		return err
	}
	w, err := f.project.prepare(env, patterns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.buildable(); err != nil {
		return err
	}
	if err := w.checkBudgets(env); err != nil {
		return err
	}
	if f.locked {
		if err := w.checkLock(patterns); err != nil {
			return err
		}
	}
	if err := f.configured(cmd, w.cfg.Executor); err != nil {
		return err
	}
	if f.force {
		if err := forceTargets(w.graph, patterns); err != nil {
			return err
		}
	}
	p := view.NewProgress(env.Stderr, view.ProgressOptions{
		Mode: mode, Color: env.color(mode == "tty"), Now: env.Now, Size: env.Size, Jobs: f.jobs,
		Retry: func(target string) string { return retryCommand(cmd, target) },
	})
	sum, err := f.build(cmd.Context(), env, w, p, saved)
	p.Close()
	switch {
	case err != nil:
		return buildError(cmd.Context(), err)
	case mode == "quiet":
	case !f.check && !w.plan.Stale():
		view.NothingToDo(env.Stderr, w.plan)
	default:
		view.Built(env.Stderr, w.plan, sum, env.Now().Sub(start))
	}
	return nil
}

// build plans and builds. Where nothing is stale no lock is taken.
func (f *buildFlags) build(ctx context.Context, env Env, w *workspace, p *view.Progress, saved *savedPlan) (executor.Summary, error) {
	w.store.Watch(p.Reading)
	if err := w.decide(); err != nil {
		return executor.Summary{}, err
	}
	if err := saved.check(env, w); err != nil {
		return executor.Summary{}, err
	}
	if !w.plan.Stale() && !f.check {
		for _, d := range w.plan.Decisions {
			w.store.Use(d.Key)
		}
		w.store.Touch()
		return executor.Summary{}, nil
	}
	if err := w.writable(); err != nil {
		return executor.Summary{}, err
	}
	memory, err := maxMemory(f.maxMemory, w.cfg.Executor)
	if err != nil {
		return executor.Summary{}, err
	}
	return executor.Build(ctx, w.graph, w.store, executor.Options{
		Jobs: f.jobs, KeepGoing: f.keepGoing, NoWait: f.noWait, Check: f.check,
		MaxMemoryBytes: memory, MaxStoreBytes: w.cfg.Cache.MaxSizeBytes,
		Costs: stage.Costs(w.plan, w.store), NoSpaceCheck: f.noSpaceCheck,
		Stages: stage.List(modalixBackend{}), Now: env.Now, Holder: holder(), Events: f.observe(p), Step: env.Step,
	})
}

// observe lets who asked see events before progress does.
func (f *buildFlags) observe(p *view.Progress) func(executor.Event) {
	if f.events == nil {
		return p.Event
	}
	return func(e executor.Event) {
		f.events(e)
		p.Event(e)
	}
}

// configured takes from llima.hcl what no flag says.
func (f *buildFlags) configured(cmd *cobra.Command, c config.Executor) error {
	if !cmd.Flags().Changed("jobs") && c.Jobs > 0 {
		f.jobs = c.Jobs
	}
	if f.jobs < 1 {
		return usageError{fmt.Errorf("--jobs %d: want 1 or more", f.jobs)}
	}
	if !cmd.Flags().Changed("keep-going") {
		f.keepGoing = c.KeepGoing
	}
	_, err := maxMemory(f.maxMemory, c)
	return err
}

func maxMemory(flag string, c config.Executor) (int64, error) {
	if flag == "" {
		return c.MaxMemoryBytes, nil
	}
	n, err := lang.ParseBytes(flag)
	if err != nil {
		return 0, usageError{fmt.Errorf("--max-memory %s: %w", flag, err)}
	}
	return n, nil
}

// progressMode resolves "auto": live lines on a terminal that can do them, and
// where a person looks at it.
func progressMode(env Env, mode string) (string, error) {
	if !slices.Contains([]string{"auto", "tty", "plain", "quiet"}, mode) {
		return "", usageError{fmt.Errorf("--progress %s: want auto, tty, plain or quiet", mode)}
	}
	if mode != "auto" {
		return mode, nil
	}
	if env.StderrTerminal && env.Getenv("TERM") != "dumb" && env.Getenv("CI") == "" {
		return "tty", nil
	}
	return "plain", nil
}

// forceTargets makes the targets that patterns name run, all of them where
// there are none. What they depend on runs where it is stale.
func forceTargets(g *planner.Graph, patterns []string) error {
	for _, t := range g.Order {
		forced := len(patterns) == 0
		for _, p := range patterns {
			ok, err := addr.Match(p, t.Addr)
			if err != nil {
				return usageError{err}
			}
			forced = forced || ok
		}
		t.Force = forced
	}
	return nil
}

// buildError says what a build's error means to a person.
func buildError(ctx context.Context, err error) error {
	if held, ok := errors.AsType[*store.HeldError](err); ok {
		return lockedError{held}
	}
	if ctx.Err() != nil {
		return context.Canceled
	}
	if full, ok := errors.AsType[*executor.NoSpaceError](err); ok {
		return errors.New(view.NoSpace(full))
	}
	return err
}

// retryCommand is the command line of this build for one target.
func retryCommand(cmd *cobra.Command, target string) string {
	words := []string{"llima", "build"}
	for _, name := range []string{"chdir", "file", "var", "var-file"} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		values := []string{flag.Value.String()}
		if list, err := cmd.Flags().GetStringArray(name); err == nil {
			values = list
		}
		for _, v := range values {
			if flag.Shorthand != "" {
				words = append(words, "-"+flag.Shorthand, shellQuote(v))
			} else {
				words = append(words, "--"+name, shellQuote(v))
			}
		}
	}
	return strings.Join(append(words, shellQuote(target)), " ")
}

// shellQuote quotes a word of a command line where a shell would not take it
// as it is.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// holder is what a lock says of this process.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s: %s", os.Getpid(), host, strings.Join(os.Args, " "))
}

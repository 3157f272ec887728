package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/stage"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
)

// planFlags are those of llima plan.
type planFlags struct {
	project  projectFlags
	all      bool
	asJSON   bool
	exitCode bool
	locked   bool
	out      string
}

func newPlan(env Env) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan [TARGET...]",
		Short: "Show each layer's precision, and what a build would do and why",
		Long: `Shows, for each model, what the rules decide, what it takes in memory, and what
is stale and why. + is made for the first time, ~ made again, ? made again if
what it reads changes, < taken from the store.

Writes nothing but the memory of file digests and, with -o, the plan.`,
		Example: `  llima plan
  llima plan tuned-long -o next.plan && llima build next.plan`,
		RunE: func(_ *cobra.Command, args []string) error { return f.run(env, args) },
	}
	f.project.register(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.all, "all", false, "list every target, fresh ones too")
	fl.BoolVar(&f.asJSON, "json", false, "print a JSON document")
	fl.StringVarP(&f.out, "out", "o", "", "save the plan to `FILE`, for llima build FILE")
	fl.BoolVar(&f.locked, "locked", false, "refuse source files that are not those of llima.lock.hcl")
	fl.BoolVar(&f.exitCode, "exit-code", false, "exit with 2 if anything is stale")
	return cmd
}

func (f *planFlags) run(env Env, args []string) (err error) {
	w, err := f.project.open(env, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if f.locked {
		if err := w.checkLock(args); err != nil {
			return err
		}
	}
	o, err := w.planOptions(env)
	if err != nil {
		return err
	}
	file, err := f.project.find()
	if err != nil {
		return err
	}
	o.All, o.Folder = f.all, filepath.Dir(file)
	if f.asJSON {
		err = view.PlanJSON(env.Stdout, w.plan, o)
	} else {
		err = view.Plan(env.Stdout, w.plan, o)
	}
	if err != nil {
		return err
	}
	if f.out != "" {
		if err := f.project.savePlan(f.out, w, args); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(env.Stderr, "saved to %s; to build this and nothing else:\n  llima build %s\n", f.out, shellQuote(f.out)); err != nil {
			return err
		}
	}
	if err := w.checkBudgets(env); err != nil {
		return err
	}
	if f.exitCode && w.plan.Stale() {
		return exitError{exitPending}
	}
	return nil
}

// planOptions gathers what a plan is shown with.
func (w *workspace) planOptions(env Env) (view.PlanOptions, error) {
	board, _ := config.BoardNamed(w.cfg.Backend.Board)
	jobs := w.cfg.Executor.Jobs
	if jobs == 0 {
		jobs = runtime.NumCPU()
	}
	rooms, err := executor.Rooms(w.graph, w.store, stage.Costs(w.plan, w.store), nil)
	return view.PlanOptions{
		Color: env.color(env.StdoutTerminal), Columns: env.textColumns(), Variables: w.cfg.Variables, Board: board, Jobs: jobs, Rooms: rooms,
	}, err
}

// textColumns is the width of the terminal that text goes to, 0 where it goes
// elsewhere.
func (e Env) textColumns() int {
	if e.StdoutTerminal || e.Getenv("COLUMNS") != "" {
		return e.Columns
	}
	return 0
}

func newWhy(env Env) *cobra.Command {
	var project projectFlags
	cmd := &cobra.Command{
		Use:     "why ADDRESS",
		Short:   "Say why a target is stale or fresh, and what it reads",
		Example: "  llima why bard-mixed:quantize:decode.POST.3",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			target, err := addr.Parse(args[0])
			if err != nil {
				return usageError{err}
			}
			w, err := project.open(env, []string{args[0]})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			for i := range w.plan.Decisions {
				if d := &w.plan.Decisions[i]; d.Target.Addr == target {
					return view.Why(env.Stdout, w.plan, d, env.textColumns())
				}
			}
			return usageError{fmt.Errorf("%s: no such target", args[0])}
		},
	}
	project.register(cmd)
	return cmd
}

package cli

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

func newPlan(env Env) *cobra.Command {
	var (
		project  projectFlags
		all      bool
		asJSON   bool
		exitCode bool
	)
	cmd := &cobra.Command{
		Use:   "plan [TARGET...]",
		Short: "Show each layer's precision, and what a build would do and why",
		Long:  "Shows, for each model, what the rules decide, and what is stale and why. Writes\nnothing but the memory of file digests.",
		RunE: func(_ *cobra.Command, args []string) (err error) {
			w, err := project.open(env, args)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			o := w.planOptions(env)
			o.All = all
			if asJSON {
				err = view.PlanJSON(env.Stdout, w.plan, o)
			} else {
				err = view.Plan(env.Stdout, w.plan, o)
			}
			if err == nil && exitCode && w.plan.Stale() {
				return exitError{exitPending}
			}
			return err
		},
	}
	project.register(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&all, "all", false, "list every target, fresh ones too")
	fl.BoolVar(&asJSON, "json", false, "print a JSON document")
	fl.BoolVar(&exitCode, "exit-code", false, "exit with 2 if anything is stale")
	return cmd
}

// planOptions gathers what a plan is shown with.
func (w *workspace) planOptions(env Env) view.PlanOptions {
	board, _ := config.BoardNamed(w.cfg.Backend.Board)
	return view.PlanOptions{
		Color: env.color(env.StdoutTerminal), Columns: env.textColumns(), Variables: w.cfg.Variables, Board: board,
		Estimate: planner.NewEstimate(w.plan, w.store, runtime.NumCPU()),
	}
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

package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
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
			if asJSON {
				err = view.PlanJSON(env.Stdout, w.plan)
			} else {
				err = view.Plan(env.Stdout, w.plan, all, env.color(env.StdoutTerminal))
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
					return view.Why(env.Stdout, w.plan, d)
				}
			}
			return usageError{fmt.Errorf("%s: no such target", args[0])}
		},
	}
	project.register(cmd)
	return cmd
}

func newValidate(env Env) *cobra.Command {
	var (
		project projectFlags
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check llima.hcl; needs no weights",
		Long:  "Checks the configuration. Rules are asked about every layer where the model's\nconfig.json is there; weights are not read.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			quiet := env
			if asJSON {
				quiet.Stderr = discard{}
			}
			cfg, err := project.load(quiet)
			var list diag.List
			var sources map[string][]byte
			var failed diagError
			switch {
			case errors.As(err, &failed):
				list, sources = failed.list, failed.sources
			case err != nil:
				return err
			default:
				sources = cfg.Sources
				for _, m := range cfg.Models {
					if _, err := checkpoint.ReadConfig(m.Source); errors.Is(err, fs.ErrNotExist) {
						r := m.SourceRange
						list = append(list, diag.Diagnostic{
							Severity: diag.Note, Summary: "Model not here", Subject: &r,
							Detail: fmt.Sprintf("Model %q: %s has no config.json, so its rules were not asked about its layers.", m.Name, m.SourceText),
						})
						continue
					}
					model, ds := planner.Inspect(m)
					list = append(list, ds...)
					if model != nil {
						list = append(list, checkModel(model)...)
					}
				}
			}
			list = list.Sorted()
			if asJSON {
				if err := view.DiagnosticsJSON(env.Stdout, list, sources); err != nil {
					return err
				}
				if list.HasErrors() {
					return exitError{exitUsage}
				}
				return nil
			}
			if list.HasErrors() {
				return diagError{list, sources}
			}
			env.warn(list, sources)
			_, err = fmt.Fprintf(env.Stdout, "%s is valid: %s\n", cfg.Files[0], view.Models(len(cfg.Models)))
			return err
		},
	}
	project.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as a JSON document")
	return cmd
}

// discard is a writer that drops what it gets.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

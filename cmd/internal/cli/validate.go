package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

func newValidate(env Env) *cobra.Command {
	var (
		project projectFlags
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check llima.hcl; needs no weights",
		Long: `Checks the configuration, and prints everything that is found. Rules are asked
about every layer where the model's config.json is there; weights are not read.

Exits with 4 where there are errors; warnings and notes are no errors.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, list, err := project.read(env)
			if failed, ok := errors.AsType[diagError](err); ok {
				cfg, list = &config.Config{}, failed.list
			} else if err != nil {
				return err
			}
			if !list.HasErrors() {
				later := cfg.Unsupported
				for _, m := range cfg.Models {
					list = append(list, inspect(m)...)
					later = append(later, m.Unsupported...)
				}
				list = append(list, asNotes(later)...)
			}
			list = list.Sorted()
			if asJSON {
				if err := view.DiagnosticsJSON(env.Stdout, list, cfg.Sources); err != nil {
					return err
				}
				if list.HasErrors() {
					return exitError{exitUsage}
				}
				return nil
			}
			if list.HasErrors() {
				return diagError{list, cfg.Sources}
			}
			env.warn(list, cfg.Sources)
			_, err = fmt.Fprintf(env.Stdout, "%s is valid: %s\n", cfg.Files[0], view.Models(len(cfg.Models)))
			return err
		},
	}
	project.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as a JSON document")
	return cmd
}

// inspect asks the rules of a model about its layers, where these are known.
func inspect(m *config.Model) diag.List {
	if _, err := checkpoint.ReadConfig(m.Source); errors.Is(err, fs.ErrNotExist) {
		r := m.SourceRange
		return append(lang.CheckRulesAlone(m), diag.Diagnostic{
			Severity: diag.Note, Summary: "Model not here", Subject: &r,
			Detail: fmt.Sprintf("Model %q: %s has no config.json, so its rules were not asked about its layers.", m.Name, m.SourceText) + m.DownloadHint(),
		})
	}
	model, list := planner.Inspect(m)
	switch {
	case model != nil:
		list = append(list, checkModel(model)...)
	case len(m.Unsupported) > 0: // which says why
		return lang.CheckRulesAlone(m)
	}
	return list
}

// asNotes is what builds refuse, for those who do not build yet.
func asNotes(list diag.List) diag.List {
	out := slices.Clone(list)
	for i := range out {
		out[i].Severity = diag.Note
	}
	return out
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/hcl/vendor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

func newImport(env Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "import -- llima-compile ARGS...",
		Short: "Write the llima.hcl that does what a command line of llima-compile does",
		Long: `Prints the configuration that does what a command line of llima-compile does,
or writes it with -o. A configuration file in Python is asked about every part
of the model; its answers become rules, and the rules are compared with it on
every part before anything is written.

Paths in the configuration are relative to its folder. The double hyphen keeps
the arguments of llima-compile apart from those of import.`,
		Example: `  llima import -- llima-compile -c config.py Llama-3.2-3B-Instruct -o out
  llima import -o llima.hcl -- llima-compile --max_num_tokens 4096 Llama-3.2-3B-Instruct`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 || len(args) == 0 {
				return usageError{fmt.Errorf("want the command line behind a double hyphen:\n    llima import -- llima-compile ARGS\n  see: %s --help", cmd.CommandPath())}
			}
			switch name := strings.TrimSuffix(filepath.Base(args[0]), ".exe"); {
			case name == "llima-compile":
				args = args[1:]
			case strings.HasPrefix(name, "llima"):
				return usageError{fmt.Errorf("%s: a configuration can be made of command lines of llima-compile only", args[0])}
			}
			a, err := vendor.Parse(args)
			if err != nil {
				return usageError{fmt.Errorf("llima-compile: error: %w", err)}
			}
			if a.Help {
				_, err := io.WriteString(env.Stdout, vendor.Help())
				return err
			}
			return importLine(cmd.Context(), env, a, args, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write this file, which must not exist yet")
	return cmd
}

// importLine writes the configuration of one command line.
func importLine(ctx context.Context, env Env, a *vendor.Args, line []string, output string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, load.FileName)
	if output != "" {
		if file, err = filepath.Abs(output); err != nil {
			return err
		}
		if _, err := os.Lstat(file); err == nil {
			return usageError{fmt.Errorf("%s: there is a file already; it is not overwritten", output)}
		}
	}
	cfg, diags := a.Config(ctx, dir, func(text string) { fmt.Fprint(env.Stderr, text) })
	if diags.HasErrors() {
		return diagError{diags, cfg.Sources}
	}
	m := cfg.Models[0]
	var props config.Properties
	var parts []addr.PartID
	if _, err := os.Stat(m.Source); err == nil || a.ConfigurationFile != "" {
		if err := checkSource(m); err != nil {
			return err
		}
		model, list := planner.Inspect(m)
		if diags = append(diags, list...); diags.HasErrors() {
			return diagError{diags.Sorted(), cfg.Sources}
		}
		props = model.Properties()
		for _, p := range model.Parts {
			parts = append(parts, p.ID)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, list := vendor.Import(a, line, file, m, props, parts)
	if diags = append(diags, list...); diags.HasErrors() {
		return diagError{diags.Sorted(), cfg.Sources}
	}
	env.warn(diags.Sorted(), cfg.Sources)
	if output == "" {
		_, err = env.Stdout.Write(text)
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

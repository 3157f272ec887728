package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletion(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands, flags and targets on Tab",
		Long: `Prints a script for a shell, which then completes commands, flags and the
targets of the llima.hcl that it is in.`,
		Example: `  source <(llima completion bash)                       # in ~/.bashrc
  llima completion zsh > "${fpath[1]}/_llima"
  llima completion fish > ~/.config/fish/completions/llima.fish
  llima completion powershell | Out-String | Invoke-Expression`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(env.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(env.Stdout)
			case "fish":
				return root.GenFishCompletion(env.Stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(env.Stdout)
			}
			return usageError{fmt.Errorf("completion: no shell %q; there is %s", args[0], strings.Join(shells, ", "))}
		},
	}
}

// completeTargets completes addresses, field by field.
func completeTargets(env Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, given string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cfg := quietConfig(env, cmd)
		if cfg == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		fields := strings.Split(given, ":")
		var out []cobra.Completion
		for _, m := range cfg.Models {
			switch {
			case len(fields) == 1:
				out = append(out, m.Name)
			case m.Name == fields[0]:
				for _, a := range addresses(m) {
					if len(fields) == 2 {
						a.Unit = ""
					}
					out = append(out, a.String())
				}
			}
		}
		slices.Sort(out)
		directive := cobra.ShellCompDirectiveNoFileComp
		if len(fields) < 3 {
			directive |= cobra.ShellCompDirectiveNoSpace // a colon may follow
		}
		return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return !strings.HasPrefix(s, given) }), directive
	}
}

// completeEvals completes names of eval blocks; where none fits, the shell
// completes output folders.
func completeEvals(env Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, given string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var out []cobra.Completion
		if cfg := quietConfig(env, cmd); cfg != nil {
			for _, e := range cfg.Evals {
				if strings.HasPrefix(e.Name, given) {
					out = append(out, e.Name)
				}
			}
		}
		return out, cobra.ShellCompDirectiveDefault
	}
}

// quietConfig loads what the flags of cmd say, nil where that fails.
func quietConfig(env Env, cmd *cobra.Command) *config.Config {
	var project projectFlags
	project.dir, project.file = cmd.Flag("chdir").Value.String(), cmd.Flag("file").Value.String()
	file, err := project.find()
	if err != nil {
		return nil
	}
	opts, err := project.options(env)
	if err != nil {
		return nil
	}
	cfg, _ := load.Load(file, opts)
	return cfg
}

// addresses lists the targets of a model of which only the configuration is
// read: those of parts where the checkpoint is not there to tell the layers.
func addresses(m *config.Model) []addr.Target {
	out := []addr.Target{{Model: m.Name, Stage: addr.Devkit}, {Model: m.Name, Stage: addr.Package}}
	model, _ := planner.Inspect(m)
	if model == nil {
		return out
	}
	for _, p := range model.Parts {
		if !p.Decision.Compile {
			continue
		}
		for _, stage := range []addr.Stage{addr.ONNX, addr.Quantize, addr.Compile} {
			out = append(out, addr.ForPart(m.Name, stage, p.ID))
		}
		unit := fmt.Sprintf("layer_%d", p.ID.Index)
		if p.ID.Part == addr.Cache {
			unit = "cache"
		}
		out = append(out, addr.Target{Model: m.Name, Stage: addr.MPK, Unit: unit})
	}
	return out
}

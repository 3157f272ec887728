package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
)

func newGraph(env Env) *cobra.Command {
	var (
		project projectFlags
		format  string
		all     bool
	)
	cmd := &cobra.Command{
		Use:   "graph [TARGET...]",
		Short: "Print the graph of targets for another program to draw",
		Long: `Prints what each target reads, and its state. The layers of a stage are one
node for each state that they are in; --all prints every target.`,
		Example: `  llima graph | dot -Tsvg > graph.svg
  llima graph --format mermaid bard-mixed`,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if !slices.Contains(view.GraphFormats, format) {
				return usageError{fmt.Errorf("--format %s: want %s", format, strings.Join(view.GraphFormats, ", "))}
			}
			w, err := project.open(env, args)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			return view.Graph(env.Stdout, w.plan, format, all)
		},
	}
	project.register(cmd)
	cmd.Flags().StringVar(&format, "format", "dot", "dot, mermaid or json")
	cmd.Flags().BoolVar(&all, "all", false, "a node for every target")
	return cmd
}

package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llima-build/llima/hcl/lang"
)

// flagMistake says what is wrong with a flag, and which one was meant.
func flagMistake(cmd *cobra.Command, err error) error {
	hint := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if s := lang.Suggest(unknown.GetSpecifiedName(), known); s != "" {
			hint = "; did you mean --" + s + "?"
		}
	}
	return usageError{fmt.Errorf("%w%s\n  see: %s --help", err, hint, cmd.CommandPath())}
}

// argumentMistake says what is wrong with the arguments of a command.
func argumentMistake(cmd *cobra.Command, positional cobra.PositionalArgs, args []string, err error) error {
	if len(args) > 0 && positional(cmd, nil) == nil && positional(cmd, args[:1]) != nil {
		err = fmt.Errorf("%s takes no arguments, but was given %q", cmd.CommandPath(), args[0])
	}
	return usageError{fmt.Errorf("%w\n  see: %s --help", err, cmd.CommandPath())}
}

// noCommand refuses a name that is no command.
func noCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range root.Commands() {
		known = append(known, c.Name())
	}
	hint := ""
	if s := lang.Suggest(args[0], known); s != "" {
		hint = "; did you mean " + s + "?"
	}
	return usageError{fmt.Errorf("there is no command %q%s\n  see: %s --help", args[0], hint, root.CommandPath())}
}

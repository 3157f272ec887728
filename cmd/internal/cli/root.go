// Package cli is the command line: flags, environment, clock and terminal end
// here. Commands gather what the libraries need, call them, and hand what they
// return to view; they decide nothing about builds themselves.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

// Exit codes, as `llima --help` lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitPending     = 2
	exitUnformatted = 3
	exitUsage       = 4
	exitLocked      = 5
	exitBudget      = 6
	exitInterrupted = 130
)

// Env is everything that a command takes from its surroundings.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	StdinTerminal  bool
	StdoutTerminal bool
	StderrTerminal bool
	Columns        int // width of the terminal, 80 where there is none
	// Size returns columns and rows of the terminal as they are now; rows are 0
	// where they are not known.
	Size func() (columns, rows int)
	// Step, which may be nil, is called before each step of a build; tests stop
	// builds there.
	Step func(step string, t *planner.Target) error
}

// System returns the environment of the process.
func System() Env {
	env := Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now, Columns: 80,
		StdinTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	fixed := 0
	if n := 0; env.Getenv("COLUMNS") != "" {
		if _, err := fmt.Sscan(env.Getenv("COLUMNS"), &n); err == nil && n >= 40 {
			fixed = n
		}
	}
	env.Size = func() (columns, rows int) {
		columns = 80
		for _, f := range []*os.File{os.Stdout, os.Stderr} {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				columns, rows = w, h
				break
			}
		}
		if fixed > 0 {
			columns = fixed
		}
		return columns, rows
	}
	env.Columns, _ = env.Size()
	return env
}

// color reports whether escapes are welcome on a stream.
func (e Env) color(terminal bool) bool {
	return terminal && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb" && e.Getenv("CI") == ""
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ error }

// exitError ends with a code and prints nothing more.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// diagError carries diagnostics, with the files that they quote.
type diagError struct {
	list    diag.List
	sources map[string][]byte
}

func (e diagError) Error() string { return e.list.Error() }

// budgetError is an estimate that exceeds a budget.
type budgetError struct{ diagError }

// Main runs one command line and returns the exit code.
func Main(env Env, args []string) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(env.Stderr, "llima: internal error: %v\n\n%s\nThis is a bug in llima; please report the lines above.\n", r, debug.Stack())
			code = exitFailed
		}
	}()
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return report(ctx, env, root.ExecuteContext(ctx))
}

// report prints what went wrong and chooses the exit code.
func report(ctx context.Context, env Env, err error) int {
	var (
		usage  usageError
		exit   exitError
		diags  diagError
		locked lockedError
		budget budgetError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &budget):
		view.Diagnostics(env.Stderr, budget.list, budget.sources, env.Columns, env.color(env.StderrTerminal))
		return exitBudget
	case errors.As(err, &diags):
		view.Diagnostics(env.Stderr, diags.list, diags.sources, env.Columns, env.color(env.StderrTerminal))
		return exitUsage
	case errors.As(err, &locked):
		fmt.Fprintln(env.Stderr, "llima:", err)
		return exitLocked
	case errors.As(err, &usage):
		fmt.Fprintln(env.Stderr, "llima:", err)
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(env.Stderr, "llima: interrupted; what was finished is kept, run the same command to go on")
		return exitInterrupted
	default:
		fmt.Fprintln(env.Stderr, "llima:", err)
		return exitFailed
	}
}

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "llima",
		Short: "Build, run and inspect compiled language models",
		Long: `llima builds compiled language models as make builds binaries: llima.hcl says
what is wanted, llima plan shows what would be built and why, llima build runs
only what is stale.

Exit codes: 0 done; 1 an action failed; 2 plan --exit-code with work pending;
3 fmt --check with files to format; 4 configuration or usage; 5 another build
holds the lock; 6 a budget or the bound of an eval is exceeded; 130
interrupted.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return exitError{exitUsage}
		},
	}
	root.SetFlagErrorFunc(flagMistake)
	commands := []*cobra.Command{
		newInit(env), newValidate(env), newFmt(env), newConsole(env), newPlan(env), newBuild(env), newWhy(env), newGraph(env), newLock(env), newImport(env),
		newClean(env),
		newRun(env), newEval(env), newObjdump(env), newVersion(env), newCompletion(env),
	}
	for _, c := range commands {
		if name := c.Name(); name == "plan" || name == "build" || name == "why" {
			c.ValidArgsFunction = completeTargets(env)
		} else if name == "eval" {
			c.ValidArgsFunction = completeEvals(env)
		}
		positional := c.Args
		c.Args = func(cmd *cobra.Command, args []string) error {
			if positional == nil {
				return nil
			}
			if err := positional(cmd, args); err != nil {
				return argumentMistake(cmd, positional, args, err)
			}
			return nil
		}
	}
	root.CompletionOptions.DisableDefaultCmd = true // ours exits with 4 without a shell
	root.AddCommand(commands...)
	return root
}

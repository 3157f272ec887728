package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

const consoleHelp = `Type an expression to see its value. An open bracket goes on in the next line.

  :type EXPR     the type of a value
  :names         what an expression can name here, without functions
  :functions     the functions
  :model [NAME]  evaluate as in this model, where each is known
  :layer [PART]  evaluate as in a rule that is asked about this part,
                 decode.POST.3 for example; both go back without an argument
  :help          this text
  :quit          leave; so does Ctrl-D
`

func newConsole(env Env) *cobra.Command {
	var (
		project      projectFlags
		model, layer string
	)
	cmd := &cobra.Command{
		Use:   "console [EXPR...]",
		Short: "Evaluate expressions in the scopes of llima.hcl",
		Long: `Evaluates expressions: those given as arguments, else the lines of standard
input, with a prompt on a terminal.

Expressions see var and local; with --model also each, where the model is
expanded; with --layer also layer and model, as rules do. The checkpoint need
not be there: then what only it can tell is not known.`,
		Example: `  llima console 'bytes("16GiB") / 3'
  echo 'layer.index < 4 ? "BF16" : "A_BF16_W_INT4"' | llima console --model tuned --layer decode.POST.3`,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := newConsoleSession(env, &project)
			if err != nil {
				return err
			}
			if model != "" {
				if err := c.enterModel(model); err != nil {
					return usageError{err}
				}
			}
			if layer != "" {
				if err := c.enterLayer(layer); err != nil {
					return usageError{err}
				}
			}
			switch {
			case len(args) > 0:
				for _, text := range args {
					c.line(text)
				}
			case env.StdinTerminal && env.StdoutTerminal:
				return c.interactive()
			default:
				if err := c.piped(); err != nil {
					return err
				}
			}
			if c.failed {
				return exitError{exitUsage}
			}
			return nil
		},
	}
	project.register(cmd)
	cmd.Flags().StringVar(&model, "model", "", "evaluate as in this model")
	cmd.Flags().StringVar(&layer, "layer", "", "evaluate as in a rule that is asked about this part, decode.POST.3 for example")
	return cmd
}

// console evaluates what it is given, line by line.
type console struct {
	env     Env
	cfg     *config.Config
	session *lang.Session
	out     io.Writer
	errs    io.Writer
	pending string // the beginning of an expression that goes on
	failed  bool
	done    bool
}

func newConsoleSession(env Env, project *projectFlags) (*console, error) {
	file, err := project.find()
	if err != nil {
		return nil, err
	}
	opts, err := project.options(env)
	if err != nil {
		return nil, err
	}
	cfg, session, list := load.Session(file, opts)
	interactive := env.StdinTerminal && env.StdoutTerminal
	if session == nil || list.HasErrors() && !interactive {
		return nil, diagError{list, cfg.Sources}
	}
	env.warn(list, cfg.Sources)
	return &console{env: env, cfg: cfg, session: session, out: env.Stdout, errs: env.Stderr}, nil
}

// piped evaluates every line of standard input.
func (c *console) piped() error {
	scanner := bufio.NewScanner(c.env.Stdin)
	scanner.Buffer(nil, 1<<20)
	for !c.done && scanner.Scan() {
		c.line(scanner.Text())
	}
	if c.pending != "" && !c.done {
		c.evaluate(c.pending)
	}
	return scanner.Err()
}

// interactive prompts for lines on a terminal, with history and completion.
func (c *console) interactive() error {
	in, ok := c.env.Stdin.(*os.File)
	if !ok {
		return c.piped()
	}
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	defer term.Restore(int(in.Fd()), state) //nolint:errcheck // nothing is left to do about it
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, c.env.Stdout}, "> ")
	if w, h, err := term.GetSize(int(in.Fd())); err == nil && w > 0 {
		_ = t.SetSize(w, h) // only fails where it cannot redraw
	}
	t.AutoCompleteCallback = c.complete
	c.out, c.errs = t, t
	fmt.Fprintf(t, "%s, %s. Type :help for help.\n", c.cfg.Files[0], view.Models(len(c.cfg.Models)))
	for !c.done {
		t.SetPrompt(c.prompt())
		text, err := t.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return err
		}
		c.line(text)
	}
	return nil
}

func (c *console) prompt() string {
	if c.pending != "" {
		return "… "
	}
	place := c.session.Place()
	switch {
	case place.Layer != nil:
		return place.Model + " " + place.Layer.String() + "> "
	case place.Model != "":
		return place.Model + "> "
	}
	return "> "
}

// complete finishes the name before the cursor on Tab.
func (c *console) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	start := len(strings.TrimRightFunc(line[:pos], func(r rune) bool {
		return r == '.' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
	}))
	word := line[start:pos]
	var found []string
	for _, name := range c.session.Names() {
		if strings.HasPrefix(name, word) {
			found = append(found, name)
		}
	}
	if len(found) == 0 || word == "" {
		return line, pos, true
	}
	common := found[0]
	for _, name := range found[1:] {
		for !strings.HasPrefix(name, common) {
			common = common[:len(common)-1]
		}
	}
	if common == word {
		fmt.Fprintln(c.out, strings.Join(found[:min(len(found), 40)], "  "))
	}
	return line[:start] + common + line[pos:], start + len(common), true
}

// line handles one line: a command, an expression, or a piece of one.
func (c *console) line(text string) {
	if c.pending == "" {
		if trimmed := strings.TrimSpace(text); trimmed == "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") {
			return
		} else if strings.HasPrefix(trimmed, ":") {
			c.command(trimmed)
			return
		}
	}
	text = c.pending + text
	if lang.Incomplete(text + "\n") {
		c.pending = text + "\n"
		return
	}
	c.evaluate(text)
}

func (c *console) evaluate(text string) {
	c.pending = ""
	value, list := c.session.Eval(consoleFile, text+"\n", c.env.Columns)
	c.answer(text, value, list)
}

// consoleFile stands for a file's name in ranges.
const consoleFile = "<console>"

func (c *console) answer(text, value string, list diag.List) {
	if len(list) > 0 {
		view.Diagnostics(c.errs, list, map[string][]byte{consoleFile: []byte(text)}, c.env.Columns, c.env.color(c.env.StderrTerminal))
	}
	if list.HasErrors() {
		c.failed = true
		return
	}
	fmt.Fprintln(c.out, value)
}

func (c *console) command(text string) {
	name, arg, _ := strings.Cut(text, " ")
	arg = strings.TrimSpace(arg)
	var err error
	switch name {
	case ":help", ":h", ":?":
		fmt.Fprint(c.out, consoleHelp)
	case ":quit", ":q", ":exit":
		c.done = true
	case ":type", ":t":
		value, list := c.session.TypeOf(consoleFile, arg)
		c.answer(arg, value, list)
	case ":names", ":functions":
		for _, n := range c.session.Names() {
			if function, ok := strings.CutSuffix(n, "("); ok == (name == ":functions") {
				fmt.Fprintln(c.out, function)
			}
		}
	case ":model":
		err = c.enterModel(arg)
	case ":layer":
		err = c.enterLayer(arg)
	default:
		known := []string{":help", ":quit", ":type", ":names", ":functions", ":model", ":layer"}
		hint := "; :help lists them"
		if s := lang.Suggest(name, known); s != "" {
			hint = "; did you mean " + s + "?"
		}
		err = fmt.Errorf("there is no command %s%s", name, hint)
	}
	if err != nil {
		c.failed = true
		fmt.Fprintln(c.errs, "llima:", err)
	}
}

// enterModel goes into the scope of a model, or out of it.
func (c *console) enterModel(name string) error {
	if name == "" {
		c.session.At(lang.Place{})
		return nil
	}
	names := make([]string, 0, len(c.cfg.Models))
	for _, m := range c.cfg.Models {
		names = append(names, m.Name)
	}
	i := slices.Index(names, name)
	if i < 0 {
		hint := ""
		if s := lang.Suggest(name, names); s != "" {
			hint = fmt.Sprintf("; did you mean %s?", s)
		} else if len(names) > 0 {
			hint = "; there is " + lang.Join(names, "and")
		}
		return fmt.Errorf("no model is called %q%s", name, hint)
	}
	place := lang.Place{Model: name}
	if model, _ := planner.Inspect(c.cfg.Models[i]); model != nil {
		props := model.Properties()
		place.Properties = &props
	}
	c.session.At(place)
	return nil
}

// enterLayer goes into the scope of a rule, or out of it.
func (c *console) enterLayer(part string) error {
	place := c.session.Place()
	if part == "" {
		place.Layer = nil
		c.session.At(place)
		return nil
	}
	id, err := addr.ParsePartID(part)
	if err != nil {
		return fmt.Errorf("%w, decode.POST.3 for example", err)
	}
	if place.Model == "" {
		if len(c.cfg.Models) != 1 {
			return errors.New("a layer belongs to a model; name that first, with --model or :model")
		}
		if err := c.enterModel(c.cfg.Models[0].Name); err != nil {
			return err
		}
		place = c.session.Place()
	}
	place.Layer = &config.Layer{PartID: id}
	if p := place.Properties; p != nil {
		if id.Index >= p.NumHiddenLayers {
			return fmt.Errorf("model %q has layers 0 to %d, so no %s", place.Model, p.NumHiddenLayers-1, part)
		}
		place.Layer.FromEnd = p.NumHiddenLayers - id.Index
	}
	c.session.At(place)
	return nil
}

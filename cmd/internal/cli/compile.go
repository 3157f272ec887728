package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/vendor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

// exitArguments is what Python's argparse exits with.
const exitArguments = 2

// argumentError is a mistake in the command line of llima-compile.
type argumentError struct{ error }

// CompileMain runs one command line of llima-compile and returns the exit
// code: 2 for wrong arguments as argparse does, 1 for everything else.
func CompileMain(env Env, args []string) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(env.Stderr, "llima-compile: internal error: %v\n\n%s\nThis is a bug in llima; please report the lines above.\n", r, debug.Stack())
			code = exitFailed
		}
	}()
	a, err := vendor.Parse(args)
	if err != nil {
		return reportCompile(ctx, env, argumentError{err})
	}
	if a.Help {
		_, err := io.WriteString(env.Stdout, vendor.Help())
		return reportCompile(ctx, env, err)
	}
	c := compiler{env: env, args: a}
	return reportCompile(ctx, env, c.run(ctx))
}

// reportCompile prints what went wrong and chooses the exit code.
func reportCompile(ctx context.Context, env Env, err error) int {
	if err == nil {
		return exitOK
	}
	if wrong, ok := errors.AsType[argumentError](err); ok {
		fmt.Fprintf(env.Stderr, "%sllima-compile: error: %v\n", vendor.Usage, wrong)
		return exitArguments
	}
	if ctx.Err() != nil {
		fmt.Fprintln(env.Stderr, "llima-compile: interrupted; what was finished is kept, run the same command to go on")
		return exitInterrupted
	}
	if diags, ok := errors.AsType[diagError](err); ok {
		view.Diagnostics(env.Stderr, diags.list, diags.sources, env.Columns, env.color(env.StderrTerminal))
		return exitFailed
	}
	fmt.Fprintln(env.Stderr, "llima-compile:", err)
	return exitFailed
}

// compiler runs one command line.
type compiler struct {
	env  Env
	args *vendor.Args
}

// shows reports whether a log level lets a message of another one through.
func (c *compiler) shows(level string) bool {
	return slices.Index(vendor.LogLevels, c.args.LogLevel) <= slices.Index(vendor.LogLevels, level)
}

// warn prints the findings that the log level lets through.
func (c *compiler) warn(list diag.List, sources map[string][]byte) {
	list = slices.DeleteFunc(slices.Clone(list), func(d diag.Diagnostic) bool {
		return d.Severity == diag.Warning && !c.shows("WARNING") || d.Severity == diag.Note && !c.shows("INFO")
	})
	c.env.warn(list, sources)
}

func (c *compiler) run(ctx context.Context) (err error) {
	start := c.env.Now()
	w, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := c.selectStages(w); err != nil {
		return err
	}
	f := buildFlags{jobs: c.args.Jobs}
	if f.jobs == 0 {
		f.jobs = physicalCores()
	}
	mode, err := c.progressMode()
	if err != nil {
		return err
	}
	f.events = func(e executor.Event) { c.explain(e, mode) }
	p := view.NewProgress(c.env.Stderr, view.ProgressOptions{
		Mode: mode, Color: c.env.color(mode == "tty"), Now: c.env.Now, Size: c.env.Size, Jobs: f.jobs,
		Retry: func(string) string { return "llima-compile " + vendor.CommandLine(c.args.Line(nil)) },
	})
	if c.shows("INFO") {
		err = c.showPlan(w)
	}
	var sum executor.Summary
	if err == nil {
		sum, err = f.build(ctx, c.env, w, p, nil)
	}
	p.Close()
	switch {
	case err != nil:
		return buildError(ctx, err)
	case mode == "quiet":
	case !w.plan.Stale():
		view.NothingToDo(c.env.Stderr, w.plan)
	default:
		view.Built(c.env.Stderr, w.plan, sum, c.env.Now().Sub(start))
	}
	return nil
}

// progressMode is what the log level lets be seen of a build: every target,
// or on a terminal the running ones, or failures only.
func (c *compiler) progressMode() (string, error) {
	switch {
	case c.shows("INFO"):
		return "plain", nil
	case !c.shows("WARNING"):
		return "quiet", nil
	}
	mode, err := progressMode(c.env, "auto")
	if mode == "plain" {
		mode = "quiet"
	}
	return mode, err
}

func (c *compiler) showPlan(w *workspace) (err error) {
	if w.plan, err = planner.Evaluate(w.graph, w.store); err != nil {
		return err
	}
	return view.Plan(c.env.Stderr, w.plan, view.PlanOptions{All: c.shows("DEBUG")})
}

// explain says at level DEBUG why each target runs, and, where progress shows
// nothing, that another build is waited for.
func (c *compiler) explain(e executor.Event, mode string) {
	if e.Kind == executor.Waiting && mode == "quiet" && c.shows("WARNING") {
		fmt.Fprintln(c.env.Stderr, "waiting:", e.Message)
	}
	if e.Kind != executor.Started || !c.shows("DEBUG") {
		return
	}
	for _, r := range e.Reasons {
		fmt.Fprintf(c.env.Stderr, "DEBUG %s: %s\n", e.Target.Addr, view.ReasonText(r))
	}
}

// open reads the configuration and the checkpoint, and builds the graph.
func (c *compiler) open(ctx context.Context) (*workspace, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	cfg, diags := c.args.Config(ctx, dir, func(text string) { fmt.Fprint(c.env.Stderr, text) })
	if diags.HasErrors() {
		return nil, diagError{diags, cfg.Sources}
	}
	m := cfg.Models[0]
	if err := checkSource(m); err != nil {
		return nil, err
	}
	g, list := planner.New(cfg.Models, checkModel)
	list = append(diags, list...)
	if list.HasErrors() {
		return nil, diagError{list.Sorted(), cfg.Sources}
	}
	c.warn(list.Sorted(), cfg.Sources)
	st, err := openStore(cfg, c.env)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	w := &workspace{cfg: cfg, graph: g, store: st}
	for _, p := range g.Models[0].Parts {
		if d, found := vendor.UnsupportedLoRA(p.Decision); found {
			m.Unsupported = append(m.Unsupported, d)
		}
	}
	if err := w.buildable(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// checkSource reports a model that is not there, with the command that brings
// one where its path looks like a name on the hub.
func checkSource(m *config.Model) error {
	if _, err := os.Stat(m.Source); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	at := m.SourceRange
	d := diag.Diagnostic{
		Severity: diag.Error, Summary: "No such model", Subject: &at,
		Detail: fmt.Sprintf("There is no folder or file %s.", m.SourceText),
	}
	if owner, name, ok := strings.Cut(m.SourceText, "/"); ok && owner != "" && name != "" && !strings.ContainsAny(name, "/ ") && !strings.HasPrefix(owner, ".") {
		d.Detail += fmt.Sprintf(" If it is the name of a model on the Hugging Face hub, download it first:\n\n    hf download %s --local-dir %s\n    llima-compile %s",
			m.SourceText, name, name)
	}
	return diagError{diag.List{d}, nil}
}

// stageFlag is a flag that selects stages.
type stageFlag struct {
	name   string
	on     func(*vendor.Args) bool
	stages []addr.Stage
}

var stageFlags = []stageFlag{
	{"devkit", func(a *vendor.Args) bool { return a.Devkit }, []addr.Stage{addr.Devkit}},
	{"onnx", func(a *vendor.Args) bool { return a.ONNX }, []addr.Stage{addr.ONNX}},
	{"quantize", func(a *vendor.Args) bool { return a.Quantize }, []addr.Stage{addr.Calibrate, addr.Quantize, addr.SourceToQuant}},
	{"model_sdk", func(a *vendor.Args) bool { return a.ModelSDK }, []addr.Stage{addr.ModelSDKDirect, addr.SourceToQuant}},
	{"compile", func(a *vendor.Args) bool { return a.Compile }, []addr.Stage{addr.Compile, addr.MPK, addr.Adapter}},
}

// selectStages narrows the build to the stages that flags name. What these
// read must be there.
func (c *compiler) selectStages(w *workspace) error {
	var stages []addr.Stage
	there := map[addr.Stage]bool{}
	for _, t := range w.graph.Order {
		there[t.Addr.Stage] = true
	}
	for _, f := range stageFlags {
		if !f.on(c.args) {
			continue
		}
		if !slices.ContainsFunc(f.stages, func(s addr.Stage) bool { return there[s] }) {
			return noStage(f.name, there)
		}
		stages = append(stages, f.stages...)
	}
	if len(stages) == 0 {
		return nil
	}
	missing, err := w.graph.Narrow(stages, w.store)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return c.missing(missing)
	}
	return nil
}

// noStage says that a model has no such stage, and which flag it takes.
func noStage(name string, there map[addr.Stage]bool) error {
	why := "the configuration file leaves every part out"
	switch {
	case there[addr.Quantize]:
		why = "the weights of this model are not quantized yet; --quantize quantizes them"
	case there[addr.ModelSDKDirect] || there[addr.SourceToQuant]:
		why = "the weights of this model are quantized already; --model_sdk converts them"
	}
	return argumentError{fmt.Errorf("argument --%s: nothing to do, %s", name, why)}
}

// missing says what the chosen stages read and is not there, and the command
// that makes it.
func (c *compiler) missing(decisions []planner.Decision) error {
	count := map[addr.Stage]int{}
	for _, d := range decisions {
		count[d.Target.Addr.Stage]++
	}
	var run, names []string
	for _, f := range stageFlags {
		n := 0
		for _, s := range f.stages {
			n += count[s]
		}
		if n > 0 && !f.on(c.args) {
			run = append(run, f.name)
			names = append(names, fmt.Sprintf("%d of --%s", n, f.name))
		}
	}
	first := decisions[0]
	why := "only if what it reads changes"
	if len(first.Reasons) > 0 {
		why = view.ReasonText(first.Reasons[0])
	}
	return fmt.Errorf("--%s: results are missing for these arguments and files, %s\n  the first is %s: %s\n  to make them:\n    llima-compile %s",
		strings.Join(c.args.Stages(), " --"), strings.Join(names, ", "), first.Target.Addr, why, vendor.CommandLine(c.args.Line(run)))
}

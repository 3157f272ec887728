package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/measure"
)

const (
	// maxTextBytes bounds a text to score. Beside it there is a number for
	// every token.
	maxTextBytes = 256 << 20
	// defaultWindow is that of published perplexities.
	defaultWindow = 512
	// partWindows is how many windows show the error of parts: what every token
	// of them gives is a number, so a few thousand tokens tell.
	partWindows = 4
)

// layouts are the values of --windows.
var layouts = map[string]dataset.Layout{"all": dataset.EveryToken, "llama": dataset.SecondHalf}

// evalFlags are those of llima eval.
type evalFlags struct {
	project  projectFlags
	text     string
	against  string
	window   int
	windows  string
	phase    string
	perLayer bool
	json     bool
	plots    string
	progress string

	sensitivity sensitivityFlags
}

func newEval(env Env) *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval OUT --text FILE | eval [NAME...] | eval MODEL --sensitivity --text FILE",
		Short: "Measure what a build lost: perplexity, KL divergence, error of each part",
		Long: `Scores a text with a build output, on the emulator. With --against it is
compared with another output, the BF16 build of the same model: KL divergence of
the two models' next tokens, and how often both hold the same one most likely.

Without --text, NAME is an eval block of llima.hcl, and no name is all of them.
Its model and the BF16 reference are built into the store, and a model that is
further from its reference than max_delta is exit code 6.

With --sensitivity, MODEL is a model of llima.hcl. It is built in each precision
into the store; each part is measured in each of them while everything else is
BF16, and the best mixtures of size and loss are listed, with the layer blocks of
the one that --max-size or --max-kl asks for. What is measured is kept: after an
interruption the same command goes on.

Where prefill and decode have other precisions decode is measured, token by
token, as it writes the text; else prefill, which is faster.`,
		Example: `  llima eval out/bard-mixed --text play.txt --against out/bard-bf16
  llima eval out/bard-mixed --text play.txt --against out/bard-bf16 --per-layer --json
  llima eval ppl
  llima eval bard-mixed --sensitivity --text play.txt --max-kl 0.002`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(env, cmd, args) },
	}
	f.project.register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.text, "text", "", "score this text, UTF-8")
	fl.StringVar(&f.against, "against", "", "compare with this output")
	fl.IntVar(&f.window, "window", 0, "tokens that the model sees at once (default 512, or the context where that is shorter)")
	fl.StringVar(&f.windows, "windows", "all", "which tokens of a window are scored: all; llama, those of its second half, as llama-perplexity does")
	fl.StringVar(&f.phase, "phase", "auto", "which programs to measure: auto, prefill or decode")
	fl.BoolVar(&f.perLayer, "per-layer", false, "show the output error of each part too")
	fl.BoolVar(&f.json, "json", false, "print one JSON document instead of a table")
	fl.StringVar(&f.plots, "plots", "", "draw what is measured into this folder, as SVG; error of each part included")
	f.sensitivity.register(cmd)
	fl.StringVar(&f.progress, "progress", "auto", "how to show progress: auto, tty, plain or quiet")
	return cmd
}

func (f *evalFlags) run(env Env, cmd *cobra.Command, args []string) error {
	mode, err := progressMode(env, f.progress)
	if err != nil {
		return err
	}
	e := evaluator{env: env, flags: f, mode: mode}
	if err := f.sensitivity.check(cmd, f, args); err != nil {
		return err
	}
	if f.sensitivity.on {
		return e.sensitivity(cmd, args[0])
	}
	if err := f.check(cmd, args); err != nil {
		return err
	}
	if f.text == "" {
		return e.blocks(cmd, args)
	}
	doc, err := e.outputs(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	doc.FormatVersion = 1
	if f.json {
		return printJSON(env, doc)
	}
	return view.Eval(env.Stdout, doc, env.Columns)
}

// check refuses flags that say nothing, or contradict each other.
func (f *evalFlags) check(cmd *cobra.Command, args []string) error {
	changed := cmd.Flags().Changed
	switch {
	case f.text != "" && len(args) != 1:
		return usageError{fmt.Errorf("--text scores one output, but %d were named\n  name the output:\n    llima eval OUT --text %s", len(args), f.text)}
	case f.text == "" && (f.against != "" || changed("text")):
		return usageError{errors.New("--against compares two outputs on a text\n  name it too:\n    llima eval OUT --text FILE --against OUT")}
	case layouts[f.windows] == "":
		return usageError{fmt.Errorf("--windows %s: want all or llama", f.windows)}
	case f.phase != "auto" && f.phase != "prefill" && f.phase != "decode":
		return usageError{fmt.Errorf("--phase %s: want auto, prefill or decode", f.phase)}
	case changed("window") && f.window < measure.MinWindow:
		return usageError{fmt.Errorf("--window %d: want %d or more", f.window, measure.MinWindow)}
	case f.perLayer && f.text != "" && f.against == "":
		return usageError{errors.New("--per-layer compares with a reference\n  name the BF16 build of the same model:\n    --against OUT")}
	case f.plots != "" && f.text != "" && f.against == "":
		return usageError{errors.New("--plots draws a comparison with a reference\n  name the BF16 build of the same model:\n    --against OUT")}
	}
	f.perLayer = f.perLayer || f.plots != ""
	return nil
}

// evaluator measures outputs.
type evaluator struct {
	env   Env
	flags *evalFlags
	mode  string // of progress
}

// outputs measures the output folders that the command line names.
func (e *evaluator) outputs(ctx context.Context, out string) (doc *view.Evaluation, err error) {
	text, err := openText(e.flags.text, e.flags.text)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	job := &evaluation{text: text, perLayer: e.flags.perLayer}
	if job.model, err = openMeasured(out); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, job.model.Close()) }()
	if e.flags.against != "" {
		if job.reference, err = openMeasured(e.flags.against); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, job.reference.Close()) }()
	}
	if doc, err = e.evaluate(ctx, job); err != nil {
		return nil, err
	}
	doc.Output, doc.Against = out, e.flags.against
	if e.flags.plots != "" {
		err = plotEvaluation(e.flags.plots, "", doc)
	}
	return doc, err
}

func openMeasured(dir string) (*measure.Model, error) {
	sima, err := findSimaFiles(dir)
	if err != nil {
		return nil, err
	}
	return measure.Open(sima, dir)
}

// openText opens a text, JSON lines or Parquet, and finds out which it is.
func openText(path, name string) (*dataset.File, error) {
	text, err := dataset.Open(path, name)
	if err != nil {
		return nil, usageError{err}
	}
	_, err = text.Format()
	if err == nil && text.SizeBytes > maxTextBytes {
		err = fmt.Errorf("%s: more than the %d MiB that are scored; take a part of it", name, maxTextBytes>>20)
	}
	if err != nil {
		return nil, errors.Join(usageError{err}, text.Close())
	}
	return text, nil
}

// evaluation is what is measured: one model on one text.
type evaluation struct {
	model, reference *measure.Model // reference may be nil
	text             *dataset.File
	perLayer         bool

	windows []dataset.Window // of both models, once the text is cut
	tokens  int              // of a window
	phase   addr.Phase
}

// options is what is measured.
func (job *evaluation) options() measure.Options {
	return measure.Options{Model: job.model, Reference: job.reference, Windows: job.windows, Phase: job.phase}
}

// evaluate measures and returns the figures.
func (e *evaluator) evaluate(ctx context.Context, job *evaluation) (*view.Evaluation, error) {
	start := e.env.Now()
	job.phase = e.phase(job.model)
	if err := e.cut(ctx, job); err != nil {
		return nil, err
	}
	result, err := measured(ctx, e, "tokens", job.options(), measure.Compare)
	if err != nil {
		return nil, err
	}
	took := e.env.Now().Sub(start)
	doc := &view.Evaluation{
		Text: job.text.Name, Phase: job.phase.String(), Tokens: result.Tokens,
		Windows:    view.EvalWindows{Scored: e.flags.windows, Tokens: job.tokens, Count: len(job.windows)},
		Perplexity: result.Perplexity.Value, PerplexityInterval: (*[2]float64)(result.Perplexity.Interval),
		Time: view.EvalTime{WallMillis: millis(took), TokensPerSec: rate(result.Tokens, took)},
	}
	if r := result.Reference; r != nil {
		doc.Reference = &view.EvalReference{Perplexity: r.Perplexity.Value, PerplexityInterval: (*[2]float64)(r.Perplexity.Interval)}
		doc.Delta, doc.DeltaInterval = &r.Delta.Value, (*[2]float64)(r.Delta.Interval)
		doc.KL = &view.EvalKL{Mean: r.KL.Value, MeanInterval: (*[2]float64)(r.KL.Interval), P99: r.P99, Max: r.Max}
		doc.SameTop1, doc.TokenKL = &r.SameTop1, r.Tokens
	}
	if job.perLayer && job.reference != nil {
		doc.Parts, err = e.parts(ctx, job)
	}
	return doc, err
}

// parts measures the output error of each part, on the first windows.
func (e *evaluator) parts(ctx context.Context, job *evaluation) ([]view.EvalPart, error) {
	if err := job.model.Fits(job.reference.Model); err != nil {
		return nil, usageError{fmt.Errorf("--per-layer: %s and %s are not of one shape: %w", job.model.Name, job.reference.Name, err)}
	}
	o := job.options()
	o.Windows = o.Windows[:min(partWindows, len(o.Windows))]
	list, err := measured(ctx, e, "tokens for the parts", o, measure.PartErrors)
	if err != nil {
		return nil, err
	}
	var out []view.EvalPart
	for _, p := range list {
		out = append(out, view.EvalPart{
			Part: p.ID.String(), Layer: p.ID.Index, Kind: p.ID.Part.String(), Precision: job.model.Precision(p.ID), Error: p.Error,
		})
	}
	return out, nil
}

// cut cuts the text, as both models read it.
func (e *evaluator) cut(ctx context.Context, job *evaluation) error {
	job.tokens = e.flags.window
	if job.tokens == 0 {
		job.tokens = min(defaultWindow, job.model.Config().MaxNumTokens)
		if job.reference != nil {
			job.tokens = min(job.tokens, job.reference.Config().MaxNumTokens)
		}
	}
	layout := layouts[e.flags.windows]
	var err error
	if job.windows, err = job.model.Windows(ctx, job.text, layout, job.tokens); err != nil {
		return usageError{err}
	}
	if job.reference == nil {
		return nil
	}
	other, err := job.reference.Windows(ctx, job.text, layout, job.tokens)
	if err != nil {
		return usageError{err}
	}
	if err := measure.CheckSameTokens(job.model, job.reference, job.windows, other); err != nil {
		return usageError{err}
	}
	return nil
}

// phase returns which programs are measured.
func (e *evaluator) phase(m *measure.Model) addr.Phase {
	if e.flags.phase == "decode" || e.flags.phase == "auto" && m.PhasesDiffer() {
		return addr.Decode
	}
	return addr.Prefill
}

// measured runs something that takes a while, with progress.
func measured[T any](ctx context.Context, e *evaluator, what string, o measure.Options, run func(context.Context, measure.Options) (T, error)) (T, error) {
	meter := view.NewMeter(e.env.Stderr, what, view.ProgressOptions{Mode: e.mode, Now: e.env.Now, Size: e.env.Size})
	defer meter.Close()
	o.Progress = meter.Set
	return run(ctx, o)
}

// printJSON prints a document on standard output.
func printJSON(env Env, doc any) error {
	enc := json.NewEncoder(env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

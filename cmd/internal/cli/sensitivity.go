package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/measure"
	"github.com/llima-build/llima/planner"
)

// sensitivityWindows is how many windows of the text are taken where no flag
// says: 4,000 tokens rank the parts of a model.
const sensitivityWindows = 8

// sensitivityFlags are those of llima eval --sensitivity.
type sensitivityFlags struct {
	on         bool
	maxWindows int
	maxSize    string
	maxKL      float64
	jobs       int
	all        bool
}

func (f *sensitivityFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.on, "sensitivity", false, "measure each part of a model of llima.hcl in each precision, and the best mixtures")
	fl.IntVar(&f.maxWindows, "max-windows", sensitivityWindows, "with --sensitivity: how many windows of the text to take, equally far apart")
	fl.StringVar(&f.maxSize, "max-size", "", "with --sensitivity: print layer blocks of the best mixture of at most this size, 2GiB for example")
	fl.Float64Var(&f.maxKL, "max-kl", 0, "with --sensitivity: print layer blocks of the smallest mixture that loses at most this, nats a token")
	fl.IntVarP(&f.jobs, "jobs", "j", 1, "with --sensitivity: how many mixtures to measure at once")
	fl.BoolVar(&f.all, "all", false, "with --sensitivity: show every part")
}

// sensitivityOnly lists the flags that say nothing without --sensitivity.
var sensitivityOnly = []string{"max-windows", "max-size", "max-kl", "jobs", "all"}

// check refuses flags that say nothing, or contradict each other.
func (f *sensitivityFlags) check(cmd *cobra.Command, e *evalFlags, args []string) error {
	changed := cmd.Flags().Changed
	if !f.on {
		for _, name := range sensitivityOnly {
			if changed(name) {
				return usageError{fmt.Errorf("--%s is of --sensitivity\n  give it too:\n    llima eval MODEL --sensitivity --text FILE", name)}
			}
		}
		return nil
	}
	switch {
	case len(args) != 1 || e.text == "":
		return usageError{errors.New("--sensitivity measures one model of llima.hcl on a text\n  name both:\n    llima eval MODEL --sensitivity --text FILE")}
	case e.against != "" || e.perLayer:
		return usageError{errors.New("--sensitivity compares with the BF16 build of the model, part by part: leave out --against and --per-layer")}
	case f.maxWindows < 1:
		return usageError{fmt.Errorf("--max-windows %d: want 1 or more", f.maxWindows)}
	case f.jobs < 1:
		return usageError{fmt.Errorf("--jobs %d: want 1 or more", f.jobs)}
	case changed("max-kl") && !(f.maxKL > 0):
		return usageError{fmt.Errorf("--max-kl %g: want more than 0", f.maxKL)}
	case changed("max-kl") && f.maxSize != "":
		return usageError{errors.New("--max-size and --max-kl each choose a mixture: give one of them")}
	case !slices.Contains([]string{"auto", "both", "prefill", "decode"}, e.phase):
		return usageError{fmt.Errorf("--phase %s: want auto, both, prefill or decode", e.phase)}
	case layouts[e.windows] == "":
		return usageError{fmt.Errorf("--windows %s: want all or llama", e.windows)}
	}
	return nil
}

// sensitivity measures a model of llima.hcl.
type sensitivity struct {
	*evaluator
	flags *sensitivityFlags
	limit int64                     // --max-size; 0 where it is not given
	on    map[addr.Phase]addr.Phase // which phase's programs are measured for one

	model   *planner.Model // as llima.hcl has it
	built   *uniforms
	kept    *keptRuns
	benches []*measure.Bench
	windows []dataset.Window
	singles []measure.Substitute
	kl      map[string]measure.Figure // of mixtures, by what they are
	doc     view.Sensitivity
}

// sensitivity runs llima eval --sensitivity.
func (e *evaluator) sensitivity(cmd *cobra.Command, name string) (err error) {
	s := &sensitivity{evaluator: e, flags: &e.flags.sensitivity, kl: map[string]measure.Figure{}}
	if s.flags.maxSize != "" {
		if s.limit, err = lang.ParseBytes(s.flags.maxSize); err != nil {
			return usageError{fmt.Errorf("--max-size %s: %w", s.flags.maxSize, err)}
		}
	}
	text, err := openText(e.flags.text, e.flags.text)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, text.Close(), s.close()) }()
	if err := s.open(cmd, name, text); err != nil {
		return err
	}
	if err := s.measure(cmd.Context()); err != nil {
		return err
	}
	if s.doc.Time.KeptRuns > 0 && e.mode != "quiet" {
		view.KeptRuns(e.env.Stderr, s.doc.Time.KeptRuns, s.doc.Time.MeasuredRuns)
	}
	if e.flags.plots != "" {
		if err := s.plot(e.flags.plots); err != nil {
			return err
		}
	}
	if e.flags.json {
		return printJSON(e.env, &s.doc)
	}
	return view.ShowSensitivity(e.env.Stdout, &s.doc, view.SensitivityOptions{Columns: e.env.Columns, All: s.flags.all})
}

func (s *sensitivity) close() error {
	var errs []error
	for _, b := range s.benches {
		for _, m := range append([]*measure.Model{b.Reference}, b.Others...) {
			errs = append(errs, m.Close())
		}
	}
	if s.kept != nil {
		errs = append(errs, s.kept.Close())
	}
	if s.built != nil {
		errs = append(errs, s.built.close())
	}
	return errors.Join(errs...)
}

// open plans the model, builds it in each precision, and cuts the text.
func (s *sensitivity) open(cmd *cobra.Command, name string, text *dataset.File) error {
	cfg, err := s.evaluator.flags.project.load(s.env)
	if err != nil {
		return err
	}
	if err := checkModels(cfg, []string{name}); err != nil {
		return err
	}
	models := selectModels(cfg, []string{name})
	if len(models) != 1 {
		return usageError{fmt.Errorf("%s names %d models: --sensitivity measures one", name, len(models))}
	}
	if err := s.plan(cfg, models[0]); err != nil {
		return err
	}
	start := s.env.Now()
	if s.built, err = buildUniforms(cmd, s.evaluator, cfg, models[0]); err != nil {
		return err
	}
	s.doc.Time.BuildMillis = millis(s.env.Now().Sub(start))
	for range s.flags.jobs {
		b, err := s.built.bench()
		if err != nil {
			return err
		}
		s.benches = append(s.benches, b)
	}
	figures, err := s.built.figures()
	if err != nil {
		return err
	}
	s.kept = &keptRuns{Figures: figures}
	return s.cut(cmd.Context(), text)
}

// plan reads the model and refuses one whose precisions cannot be chosen.
func (s *sensitivity) plan(cfg *config.Config, m *config.Model) error {
	g, list := planner.New([]*config.Model{m}, checkModel)
	if list.HasErrors() {
		return diagError{list.Sorted(), cfg.Sources}
	}
	s.model = g.Models[0]
	if err := g.Close(); err != nil {
		return err
	}
	if s.model.Format != "hf" {
		return usageError{fmt.Errorf("%s: its weights are quantized in its source (%s) and carried over as they are, so there is no precision to choose", m.Name, s.model.Format)}
	}
	return nil
}

// cut cuts the text and takes windows that are equally far apart.
func (s *sensitivity) cut(ctx context.Context, text *dataset.File) error {
	job := &evaluation{model: s.benches[0].Reference, text: text}
	if err := s.evaluator.cut(ctx, job); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(text.Reader, 0, text.SizeBytes)); err != nil {
		return err
	}
	n := min(s.flags.maxWindows, len(job.windows))
	tokens := 0
	for i := range n {
		w := job.windows[i*len(job.windows)/n]
		s.windows = append(s.windows, w)
		tokens += len(w.IDs) - w.First - 1
	}
	s.doc.Text = view.SensitivityText{
		Name: text.Name, SHA256: fmt.Sprintf("%x", sum.Sum(nil)), Tokens: tokens,
		Windows: view.EvalWindows{Scored: s.evaluator.flags.windows, Tokens: job.tokens, Count: n},
	}
	return nil
}

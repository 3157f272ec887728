package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
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

const (
	// sensitivityWindows is how many windows of the text are taken where no flag
	// says: 4,000 tokens rank the parts of a model.
	sensitivityWindows = 8
	// measuredPoints is how many points of a frontier are measured as a whole.
	measuredPoints = 6
	// samePhases is how far the KL of the phases may be apart, as a part of it,
	// where one stands for both: much less than a text tells.
	samePhases = 0.01
)

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
	text, closeText, err := openText(e.flags.text, e.flags.text)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeText(), s.close()) }()
	if err := s.open(cmd, name, text); err != nil {
		return err
	}
	if err := s.measure(cmd.Context()); err != nil {
		return err
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

// measure measures each part alone, finds the frontier, and measures points
// of it.
func (s *sensitivity) measure(ctx context.Context) error {
	start := s.env.Now()
	if err := s.choosePhases(ctx); err != nil {
		return err
	}
	var mixtures []measure.Mixture
	for _, phase := range addr.Phases {
		for _, id := range s.benches[0].Reference.Parts(phase) {
			if !s.compiled(id) {
				continue
			}
			for other := range alternatives {
				p := measure.Substitute{ID: id, Other: other}
				s.singles, mixtures = append(s.singles, p), append(mixtures, s.mixture(phase, p))
			}
		}
	}
	if err := s.run(ctx, mixtures); err != nil {
		return err
	}
	s.describe()
	f := s.frontier()
	if err := f.measurePoints(ctx); err != nil {
		return err
	}
	if err := f.choose(ctx); err != nil {
		return err
	}
	s.doc.Time.WallMillis = millis(s.env.Now().Sub(start))
	return nil
}

// choosePhases decides whether the programs of one phase stand for those of
// both. They do the same sums with the same weights, for a group of tokens or
// for one, so what a precision costs is the same but for the order of sums; and
// reading token by token takes many times as long. A window shows whether it
// is so.
func (s *sensitivity) choosePhases(ctx context.Context) error {
	s.on = map[addr.Phase]addr.Phase{addr.Prefill: addr.Prefill, addr.Decode: addr.Decode}
	switch s.evaluator.flags.phase {
	case "both":
		return nil
	case "prefill":
		s.on[addr.Decode] = addr.Prefill
		return nil
	case "decode":
		s.on[addr.Prefill] = addr.Decode
		return nil
	}
	var mixtures []measure.Mixture
	for other := range alternatives {
		for _, phase := range addr.Phases {
			mixtures = append(mixtures, s.mixture(phase, s.all(phase, other)...))
		}
	}
	list, err := measure.Mixtures(ctx, measure.MixtureOptions{Benches: s.benches, Windows: s.windows[:1]}, mixtures)
	if err != nil {
		return err
	}
	for pair := range slices.Chunk(list, len(addr.Phases)) {
		a, b := pair[0].Value, pair[1].Value
		if math.Abs(a-b) > samePhases*max(a, b) {
			return nil
		}
	}
	s.on[addr.Decode] = addr.Prefill
	return nil
}

// all lists every part of a phase with the program of one build.
func (s *sensitivity) all(phase addr.Phase, other int) []measure.Substitute {
	var out []measure.Substitute
	for _, id := range s.benches[0].Reference.Parts(phase) {
		out = append(out, measure.Substitute{ID: id, Other: other})
	}
	return out
}

// mixture returns what is run to measure parts of a phase.
func (s *sensitivity) mixture(phase addr.Phase, parts ...measure.Substitute) measure.Mixture {
	m := measure.Mixture{Phase: s.on[phase]}
	for _, p := range parts {
		p.ID.Phase = m.Phase
		m.Parts = append(m.Parts, p)
	}
	return m
}

// run measures mixtures, each once, with progress.
func (s *sensitivity) run(ctx context.Context, mixtures []measure.Mixture) error {
	var missing []measure.Mixture
	for _, m := range mixtures {
		if _, known := s.kl[fmt.Sprint(m)]; !known {
			s.kl[fmt.Sprint(m)] = measure.Figure{}
			missing = append(missing, m)
		}
	}
	meter := view.NewMeter(s.env.Stderr, "runs", view.ProgressOptions{Mode: s.mode, Now: s.env.Now, Size: s.env.Size})
	defer meter.Close()
	runs := int64(len(missing) * len(s.windows))
	list, err := measure.Mixtures(ctx, measure.MixtureOptions{
		Benches: s.benches, Windows: s.windows, Progress: func(done, total int64) { meter.Set(int(done*runs/total), int(runs)) },
	}, missing)
	if err != nil {
		return err
	}
	for i, m := range missing {
		s.kl[fmt.Sprint(m)] = list[i]
	}
	return nil
}

// figure returns what was measured of parts of a phase.
func (s *sensitivity) figure(phase addr.Phase, parts ...measure.Substitute) measure.Figure {
	return s.kl[fmt.Sprint(s.mixture(phase, parts...))]
}

// compiled reports whether llima.hcl has a part built.
func (s *sensitivity) compiled(id addr.PartID) bool {
	i := slices.IndexFunc(s.model.Parts, func(p planner.Part) bool { return p.ID == id })
	return i >= 0 && s.model.Parts[i].Decision.Compile
}

// describe fills in what was measured of single parts.
func (s *sensitivity) describe() {
	s.doc.FormatVersion, s.doc.Model = 1, s.model.Config.Name
	s.doc.SizeBytes = s.model.BF16Footprint().SizeBytes
	for _, p := range addr.Phases {
		if s.on[p] == p {
			s.doc.Phases = append(s.doc.Phases, p.String())
		}
	}
	type group struct {
		phase addr.Phase
		other int
	}
	sums := map[group]float64{}
	for _, p := range s.singles {
		sums[group{p.ID.Phase, p.Other}] += s.figure(p.ID.Phase, p).Value
	}
	for _, p := range s.singles {
		kl := s.figure(p.ID.Phase, p)
		c := view.SensitivityChange{
			Part: p.ID.String(), Precision: string(alternatives[p.Other]),
			SavedBytes: s.saved(p), KL: kl.Value, Interval: (*[2]float64)(kl.Interval),
		}
		if sum := sums[group{p.ID.Phase, p.Other}]; sum > 0 {
			c.Share = 100 * c.KL / sum
		}
		s.doc.Changes = append(s.doc.Changes, c)
	}
}

// alternatives are the precisions of a bench's others.
var alternatives = config.Precisions[1:]

// saved returns by how much the program of a part gets smaller.
func (s *sensitivity) saved(p measure.Substitute) int64 {
	return s.built.weightBytes(config.BF16, p.ID) - s.built.weightBytes(alternatives[p.Other], p.ID)
}

// bench opens the builds.
func (u *uniforms) bench() (*measure.Bench, error) {
	var all []*measure.Model
	for _, m := range u.graph.Models {
		opened, err := measure.Open(filepath.Join(m.Config.Output, "sima_files"), m.Config.Name)
		if err != nil {
			for _, o := range all {
				err = errors.Join(err, o.Close())
			}
			return nil, err
		}
		all = append(all, opened)
	}
	return &measure.Bench{Reference: all[0], Others: all[1:]}, nil
}

// weightBytes returns what the weights of a part take in a precision.
func (u *uniforms) weightBytes(p config.Precision, id addr.PartID) int64 {
	m := u.graph.Models[slices.Index(config.Precisions, p)]
	i := slices.IndexFunc(m.Parts, func(part planner.Part) bool { return part.ID == id })
	return m.Parts[i].WeightBytes
}

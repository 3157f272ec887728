package cli

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
)

// projectFlags find the configuration.
type projectFlags struct {
	dir, file string
	vars      []string
	varFiles  []string
}

func (f *projectFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.dir, "chdir", "C", ".", "look for llima.hcl from this folder upward")
	fl.StringVarP(&f.file, "file", "f", "", "use this configuration file")
	fl.StringArrayVar(&f.vars, "var", nil, "set a variable, NAME=VALUE")
	fl.StringArrayVar(&f.varFiles, "var-file", nil, "read variables from this file")
}

// load reads the configuration; warnings go to standard error.
func (f *projectFlags) load(env Env) (*config.Config, error) {
	cfg, list, err := f.read(env)
	if err != nil {
		return nil, err
	}
	if list.HasErrors() {
		return nil, diagError{list, cfg.Sources}
	}
	env.warn(list, cfg.Sources)
	return cfg, nil
}

// find returns the file of the configuration.
func (f *projectFlags) find() (string, error) {
	file := f.file
	if file == "" {
		var err error
		if file, err = load.Find(f.dir); err != nil {
			if list, ok := errors.AsType[diag.List](err); ok {
				return "", diagError{list, nil}
			}
			return "", usageError{err}
		}
	} else if f.dir != "." && !filepath.IsAbs(file) {
		file = filepath.Join(f.dir, file)
	}
	return file, nil
}

// read is load without a verdict on what it finds.
func (f *projectFlags) read(env Env) (*config.Config, diag.List, error) {
	file, err := f.find()
	if err != nil {
		return nil, nil, err
	}
	opts, err := f.options(env)
	if err != nil {
		return nil, nil, err
	}
	cfg, list := load.Load(file, opts)
	return cfg, list, nil
}

// options is what the command line and the environment add to the file.
func (f *projectFlags) options(env Env) (load.Options, error) {
	vars := map[string]string{}
	for _, v := range f.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return load.Options{}, usageError{errors.New("--var " + v + ": want NAME=VALUE")}
		}
		vars[name] = value
	}
	return load.Options{Vars: vars, VarFiles: f.varFiles, Version: version(), Env: func(name string) (string, bool) {
		v := env.Getenv(name)
		return v, v != ""
	}}, nil
}

func (e Env) warn(list diag.List, sources map[string][]byte) {
	if len(list) > 0 {
		view.Diagnostics(e.Stderr, list, sources, e.Columns, e.color(e.StderrTerminal))
	}
}

// selectModels returns the models that patterns name, all for none.
func selectModels(cfg *config.Config, patterns []string) []*config.Model {
	if len(patterns) == 0 {
		return cfg.Models
	}
	var out []*config.Model
	for _, m := range cfg.Models {
		if slices.ContainsFunc(patterns, func(p string) bool {
			model, _, _ := strings.Cut(p, ":")
			ok, err := addr.Match(model, addr.Target{Model: m.Name})
			return ok && err == nil
		}) {
			out = append(out, m)
		}
	}
	return out
}

// checkModel asks the rules of a model about each of its parts.
func checkModel(model *planner.Model) diag.List {
	parts := make([]addr.PartID, len(model.Parts))
	for i, p := range model.Parts {
		parts[i] = p.ID
	}
	list := lang.CheckRules(model.Config, model.Properties(), parts)
	list = append(list, model.Config.CheckQuantisable(model.Format)...)
	list = append(list, model.CheckQuantization()...)
	list = append(list, model.CheckCalibration()...)
	list = append(list, model.CheckSharing()...)
	return append(list, model.Config.CheckContext(model.Arch.MaxPositionEmbeddings)...)
}

// workspace is a planned project.
type workspace struct {
	cfg   *config.Config
	graph *planner.Graph
	store *store.Store
	plan  *planner.Plan
}

func (w *workspace) close() error { return errors.Join(w.graph.Close(), w.store.Close()) }

// open loads a project, builds the graph of the named targets and decides on
// each of them.
func (f *projectFlags) open(env Env, patterns []string) (*workspace, error) {
	w, err := f.prepare(env, patterns)
	if err != nil {
		return nil, err
	}
	mode, err := progressMode(env, "auto")
	if err != nil {
		return nil, err
	}
	p := view.NewProgress(env.Stderr, view.ProgressOptions{Mode: mode, Now: env.Now, Size: env.Size})
	defer p.Close()
	w.store.Watch(p.Reading)
	return w, w.decide()
}

// prepare is open without the decisions.
func (f *projectFlags) prepare(env Env, patterns []string) (*workspace, error) {
	cfg, err := f.load(env)
	if err != nil {
		return nil, err
	}
	if len(patterns) == 0 {
		patterns = cfg.DefaultTargets
	}
	return newWorkspace(env, cfg, patterns)
}

// newWorkspace builds the graph of the named targets, of all where there are
// none.
func newWorkspace(env Env, cfg *config.Config, patterns []string) (*workspace, error) {
	if err := checkModels(cfg, patterns); err != nil {
		return nil, err
	}
	g, list := planner.New(selectModels(cfg, patterns), checkModel)
	if list.HasErrors() {
		return nil, diagError{list.Sorted(), cfg.Sources}
	}
	env.warn(list.Sorted(), cfg.Sources)
	if err := selectTargets(g, patterns); err != nil {
		return nil, usageError{errors.Join(err, g.Close())}
	}
	st, err := openStore(cfg, env)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return &workspace{cfg: cfg, graph: g, store: st}, nil
}

func openStore(cfg *config.Config, env Env) (*store.Store, error) {
	return store.OpenCache(cfg.Root, store.Cache{Dir: cfg.Cache.Dir, ReadOnly: cfg.Cache.Mode == "read"}, env.Now)
}

// decide plans. After an error the workspace is closed.
func (w *workspace) decide() (err error) {
	if w.plan, err = planner.Evaluate(w.graph, w.store); err != nil {
		return errors.Join(err, w.close())
	}
	return w.store.Flush()
}

// checkBudgets reports models that exceed their budget, or the board: what may
// be built all the same is a warning.
func (w *workspace) checkBudgets(env Env) error {
	board, _ := config.BoardNamed(w.cfg.Backend.Board)
	var list diag.List
	for _, m := range w.graph.Models {
		list = append(list, m.CheckBudget(board)...)
	}
	list = list.Sorted()
	if list.HasErrors() {
		return budgetError{diagError{list, w.cfg.Sources}}
	}
	env.warn(list, w.cfg.Sources)
	return nil
}

// buildable reports what the configuration asks for and builds cannot do yet.
func (w *workspace) buildable() error {
	list := slices.Clone(w.cfg.Unsupported)
	for _, m := range w.graph.Models {
		list = append(list, m.Config.Unsupported...)
	}
	if len(list) == 0 {
		return nil
	}
	for i := range list {
		list[i].Severity = diag.Error
	}
	return diagError{list.Sorted(), w.cfg.Sources}
}

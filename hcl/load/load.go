// Package load reads llima.hcl: it parses the file, gives variables their
// values, evaluates locals, expands models and checks everything that can be
// checked without weights. What the words mean is [lang]'s business.
package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// Options is what the command line adds to the file.
type Options struct {
	Vars     map[string]string // --var NAME=VALUE
	VarFiles []string          // --var-file, in order; the last one wins
	// Env reads one environment variable; it is asked only about names that
	// variables declare. Nil means that the environment is empty.
	Env func(name string) (string, bool)
	// Version is the version of llima, "0.3.1" for example; required_version
	// is not compared where it is "".
	Version string
}

// Load reads a configuration. The configuration is never nil: where there are
// errors it holds what could be read, and always the sources for snippets.
func Load(file string, opts Options) (*config.Config, diag.List) {
	l, diags := source(file, opts)
	return l.cfg, diags
}

// Source is [Load] for text that is at hand; file says where it would stand.
func Source(file string, src []byte, opts Options) (*config.Config, diag.List) {
	l, diags := parsed(file, src, opts)
	return l.cfg, diags
}

// source reads and evaluates a file.
func source(file string, opts Options) (*loader, diag.List) {
	src, err := os.ReadFile(file)
	if err != nil {
		empty := &loader{cfg: &config.Config{Sources: map[string][]byte{}}}
		info, statErr := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return empty, diag.Errorf("No configuration", "There is no file %s.", file)
		case statErr == nil && info.IsDir():
			return empty, diag.Errorf("No configuration", "%s is a folder. To use the %s in it:\n\n    llima -C %s …", file, FileName, file)
		}
		return empty, diag.Errorf("No configuration", "%v.", err)
	}
	return parsed(file, src, opts)
}

// parsed evaluates text.
func parsed(file string, src []byte, opts Options) (*loader, diag.List) {
	root, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return &loader{cfg: &config.Config{Sources: map[string][]byte{}}}, diag.Errorf("No configuration", "%v.", err)
	}
	l := &loader{
		opts: opts, file: file,
		files: &lang.Files{Root: root},
		cfg: &config.Config{
			Root: root, Files: []string{filepath.Base(file)}, Sources: map[string][]byte{file: src},
			Backend: config.Backend{Name: "modalix"}, Cache: config.Cache{Mode: "read_write"},
		},
	}
	l.functions = lang.Functions(l.files)
	body, diags := lang.Parse(file, src)
	l.report(diags)
	if body != nil && lang.Readable(diags) {
		l.body = body
		l.run()
	}
	slices.Sort(l.cfg.Files)
	l.cfg.Reads = l.files.Reads()
	l.cfg.Unsupported = l.placed(l.cfg.Unsupported.Sorted())
	return l, l.placed(l.diags.Sorted())
}

// Session reads a configuration for evaluating expressions in its scopes. What
// has errors in it is not known in there.
func Session(file string, opts Options) (*config.Config, *lang.Session, diag.List) {
	l, diags := source(file, opts)
	if l.base == nil { // nothing could be read
		return l.cfg, nil, diags
	}
	return l.cfg, lang.NewSession(l.base, l.contexts), diags
}

// loader reads one file; each step uses what the steps before it left.
type loader struct {
	opts      Options
	file      string
	body      *hclsyntax.Body
	files     *lang.Files
	functions map[string]function.Function
	cfg       *config.Config
	diags     diag.List

	variables map[string]cty.Value
	base      *hcl.EvalContext            // var and local
	contexts  map[string]*hcl.EvalContext // of models, by name
	policies  map[string]*policy
	labels    map[string][]string // of model blocks, and the models that they make
}

func (l *loader) report(d diag.List) { l.diags = append(l.diags, d...) }

// run reads the blocks in order of dependency.
func (l *loader) run() {
	l.report(checkBody(l.body, lang.Root, "a configuration", l.body.Range()))
	l.readVariables()
	l.readLocals()
	l.readPolicies()
	for _, b := range l.body.Blocks {
		if b.Type == "model" && len(b.Labels) == 1 {
			l.readModel(b)
		}
	}
	l.checkModels()
	if len(l.labels) == 0 && !l.diags.HasErrors() {
		l.report(diag.List{{
			Severity: diag.Warning, Summary: "No models",
			Detail: fmt.Sprintf("%s has no model block, so there is nothing to build. To see one for a checkpoint:\n\n    llima init -f - CHECKPOINT", filepath.Base(l.file)),
		}})
	}
	for _, b := range l.body.Blocks {
		switch b.Type {
		case "llima":
			l.readSettings(b)
		case "eval":
			l.readEval(b)
		case "backend", "executor", "cache":
			l.readBuild(b)
		}
	}
}

// scope returns a context with the given variables around base, which is
// nil for a scope of functions alone.
func (l *loader) scope(base *hcl.EvalContext, vars map[string]cty.Value) *hcl.EvalContext {
	if base == nil {
		return &hcl.EvalContext{Variables: vars, Functions: l.functions}
	}
	child := base.NewChild()
	child.Variables = vars
	return child
}

// attributes evaluates the attributes of a body that its schema knows and that
// neither rules nor special cases handle.
func (l *loader) attributes(body *hclsyntax.Body, schema *lang.Block, ctx *hcl.EvalContext) map[string]cty.Value {
	out := map[string]cty.Value{}
	for _, a := range schema.Attributes {
		attr := body.Attributes[a.Name]
		if attr == nil || a.Static || a.Lazy || a.Kind == lang.Policies || a.Name == "for_each" || a.Name == "matrix" {
			continue
		}
		v, diags := lang.EvalAttribute(a, attr, ctx)
		l.report(diags)
		if !v.IsNull() {
			out[a.Name] = v
		}
	}
	return out
}

// placed adds to each diagnostic the blocks that its subject stands in.
func (l *loader) placed(diags diag.List) diag.List {
	if l.body == nil {
		return diags
	}
	for i, d := range diags {
		if d.Subject == nil || d.Subject.File != l.file {
			continue
		}
		for blocks := l.body.Blocks; ; {
			at := slices.IndexFunc(blocks, func(b *hclsyntax.Block) bool {
				r := b.Range()
				return r.Start.Byte < d.Subject.Start.Byte && d.Subject.Start.Byte < r.End.Byte
			})
			if at < 0 {
				break
			}
			if diags[i].Block != "" {
				diags[i].Block += ", "
			}
			diags[i].Block += blocks[at].Type
			for _, label := range blocks[at].Labels {
				diags[i].Block += ` "` + label + `"`
			}
			blocks = blocks[at].Body.Blocks
		}
	}
	return diags
}

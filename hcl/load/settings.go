package load

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// path makes the path of an attribute absolute.
func (l *loader) path(b *hclsyntax.Block, attr, written string, into *string) bool {
	at := b.DefRange()
	if a := b.Body.Attributes[attr]; a != nil {
		at = a.Expr.Range()
	}
	problem := ""
	switch {
	case written == "":
		problem = "is empty"
	case strings.ContainsRune(written, 0):
		problem = "holds a zero byte"
	case written == "~" || strings.HasPrefix(written, "~/"):
		problem = "begins with ~, which is not expanded; write a path relative to this file"
	}
	if problem != "" {
		l.report(diag.List{lang.Errorf(at, "Invalid path", "The path in %s %s.", attr, problem)})
		return false
	}
	p := filepath.FromSlash(written)
	if !filepath.IsAbs(p) {
		p = filepath.Join(l.cfg.Root, p)
	}
	*into = filepath.Clean(p)
	return true
}

// checkModels refuses two models with one name or one output.
func (l *loader) checkModels() {
	byName, byOutput := map[string]*config.Model{}, map[string]*config.Model{}
	for _, m := range l.cfg.Models {
		at := m.Decl
		if first := byName[m.Name]; first != nil {
			l.report(diag.List{{
				Severity: diag.Error, Summary: "Two models have one address", Subject: &at,
				Detail: fmt.Sprintf("This block and the one at %s both make a model %q: a copy is called by the name of its block, a hyphen and its key.", first.Decl, m.Name),
			}})
			continue
		}
		byName[m.Name] = m
		real := realPath(m.Output)
		if first := byOutput[real]; first != nil && first.Decl == m.Decl {
			l.report(diag.List{{
				Severity: diag.Error, Summary: "Two models have one output", Subject: &at,
				Detail: fmt.Sprintf("Models %q and %q are copies of this block and both write to %s. Let the key be a part of it:\n\n    output = %s", first.Name, m.Name, m.OutputText, lang.QuoteTemplate(m.OutputText, "-${each.key}")),
			}})
			continue
		} else if first != nil {
			l.report(diag.List{{
				Severity: diag.Error, Summary: "Two models have one output", Subject: &at,
				Detail: fmt.Sprintf("Models %q (%s) and %q (%s) both write to %s. Give one of them another output.", first.Name, first.Decl, m.Name, m.Decl, m.OutputText),
			}})
			continue
		}
		byOutput[real] = m
	}
}

// realPath resolves links in the part of a path that exists.
func realPath(p string) string {
	rest := ""
	for at := p; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if filepath.Dir(at) == at {
			return p
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// readSettings reads the llima block.
func (l *loader) readSettings(b *hclsyntax.Block) {
	schema, _ := lang.Root.Block("llima")
	vals := l.attributes(b.Body, schema, l.scope(nil, nil))
	if want, ok := vals["required_version"]; ok {
		at := b.Body.Attributes["required_version"].Expr.Range()
		met, err := satisfies(l.opts.Version, want.AsString())
		switch {
		case err != nil:
			l.report(diag.List{lang.Errorf(at, "Invalid version", "%v.", err)})
		case !met:
			l.report(diag.List{lang.Errorf(at, "Another version of llima is needed", "This configuration asks for llima %s, and this is %s.", want.AsString(), l.opts.Version)})
		}
	}
	targets, ok := vals["default_targets"]
	if !ok {
		return
	}
	at := b.Body.Attributes["default_targets"].Expr
	l.cfg.DefaultTargets = []string{}
	i := 0
	for _, v := range targets.Elements() {
		r := at.Range()
		if list, isList := at.(*hclsyntax.TupleConsExpr); isList && i < len(list.Exprs) {
			r = list.Exprs[i].Range()
		}
		i++
		if v.IsNull() || v.Type() != cty.String {
			continue
		}
		l.cfg.DefaultTargets = append(l.cfg.DefaultTargets, v.AsString())
		l.checkTarget(v.AsString(), r)
	}
}

// checkTarget refuses patterns that select no model.
func (l *loader) checkTarget(pattern string, at hcl.Range) {
	name, rest, _ := strings.Cut(pattern, ":")
	if stage, _, _ := strings.Cut(rest, ":"); stage != "" && !strings.ContainsAny(stage, "*?[") {
		if _, ok := addr.ParseStage(stage); !ok {
			stages := make([]string, len(addr.Stages))
			for i, s := range addr.Stages {
				stages[i] = s.String()
			}
			l.report(diag.List{lang.Errorf(at, "Unknown stage", "No stage is called %q; the stages are %s.%s", stage, lang.Join(stages, "and"), meant(stage, stages))})
			return
		}
	}
	var known []string
	for _, m := range l.cfg.Models {
		if _, err := addr.Match(pattern, addr.Target{Model: m.Name}); err != nil {
			l.report(diag.List{lang.Errorf(at, "Invalid address", "%v.", err)})
			return
		}
		if ok, _ := addr.Match(name, addr.Target{Model: m.Name}); ok {
			return
		}
		known = append(known, m.Name)
	}
	l.report(diag.List{lang.Errorf(at, "Unknown target", "No model is called %q.%s", name, meant(name, known))})
}

func meant(given string, known []string) string {
	if s := lang.Suggest(given, known); s != "" {
		return fmt.Sprintf(" Did you mean %q?", s)
	}
	return ""
}

// satisfies reports whether version meets constraints such as ">= 0.2, < 1".
// An unknown version meets everything.
func satisfies(version, constraints string) (bool, error) {
	have, haveErr := versionParts(version)
	met := true
	for c := range strings.SplitSeq(constraints, ",") {
		c = strings.TrimSpace(c)
		number := strings.TrimLeft(c, "<>=!")
		op := strings.TrimSpace(c[:len(c)-len(number)])
		want, err := versionParts(strings.TrimSpace(number))
		if err != nil {
			return false, fmt.Errorf("%q is not a constraint on versions; write \">= 0.2\" for example", c)
		}
		if version == "" || haveErr != nil {
			continue
		}
		order := slices.Compare(have, want)
		switch op {
		case "", "=", "==":
			met = met && order == 0
		case "!=":
			met = met && order != 0
		case ">":
			met = met && order > 0
		case ">=":
			met = met && order >= 0
		case "<":
			met = met && order < 0
		case "<=":
			met = met && order <= 0
		default:
			return false, fmt.Errorf("%q is not a comparison of versions, which are = != > >= < <=", op)
		}
	}
	return met, nil
}

// versionParts reads "v1.2" as 1, 2, 0.
func versionParts(s string) ([]int, error) {
	fields := strings.Split(strings.TrimPrefix(s, "v"), ".")
	if len(fields) > 3 {
		return nil, fmt.Errorf("%q has more than three numbers", s)
	}
	parts := make([]int, 3)
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%q is not a version", s)
		}
		parts[i] = n
	}
	return parts, nil
}

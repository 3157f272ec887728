package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// checkModels refuses patterns that name no model, before any is opened.
func checkModels(cfg *config.Config, patterns []string) error {
	var names []string
	for _, m := range cfg.Models {
		names = append(names, m.Name)
	}
	for _, p := range patterns {
		model, _, _ := strings.Cut(p, ":")
		if !slices.ContainsFunc(names, func(n string) bool {
			ok, err := addr.Match(model, addr.Target{Model: n})
			return ok || err != nil // a pattern that is none is reported when targets are matched
		}) {
			return usageError{noTarget(p, "no model", model, names)}
		}
	}
	return nil
}

// selectTargets keeps the targets that patterns name. One that names none is
// an error that says what comes closest.
func selectTargets(g *planner.Graph, patterns []string) error {
	err := g.Select(patterns)
	missing, ok := errors.AsType[*planner.NoTargetError](err)
	if !ok {
		return err
	}
	fields := strings.Split(missing.Pattern, ":")
	var stages, units []string
	for _, t := range missing.Targets {
		if ok, _ := addr.Match(fields[0], t); !ok {
			continue
		}
		if stage := t.Stage.String(); !slices.Contains(stages, stage) {
			stages = append(stages, stage)
		}
		if ok, _ := addr.Match(strings.Join(fields[:min(2, len(fields))], ":"), t); ok {
			units = append(units, t.Unit)
		}
	}
	if len(units) == 0 && len(fields) > 1 {
		return noTarget(missing.Pattern, "no stage", fields[1], stages)
	}
	return noTarget(missing.Pattern, "no target of that stage", fields[len(fields)-1], units)
}

// noTarget says that a pattern names nothing, because one of its fields is
// like none of what there is.
func noTarget(pattern, what, field string, known []string) error {
	text := fmt.Sprintf("%s names no target: %s is called %q", pattern, what, field)
	const few = 12
	switch meant := lang.Suggest(field, known); {
	case meant != "":
		text += fmt.Sprintf("\n  did you mean %s?", strings.Replace(pattern, field, meant, 1))
	case len(known) > 0 && len(known) <= few:
		text += "\n  there are " + strings.Join(known, ", ")
	}
	return errors.New(text + "\n  to see every target:\n    llima plan --all")
}

package executor_test

import (
	"testing"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/planner"
)

// benchmarkNoOp measures what a process does when nothing is stale, after the
// configuration is read: open the checkpoint, make the graph, read the
// records, decide.
func benchmarkNoOp(b *testing.B, layers, contextTokens int) {
	b.Helper()
	p := newTiny(b, layers)
	p.context = contextTokens
	p.mustBuild(b)
	if plan := p.plan(b); plan.Stale() {
		b.Fatalf("the plan is %v", plan.Count())
	}
	g := p.graph(b)
	b.Run("graph", func(b *testing.B) {
		for b.Loop() {
			p.graph(b)
		}
	})
	b.Run("decide", func(b *testing.B) {
		for b.Loop() {
			s := p.store(b)
			if _, err := planner.Evaluate(g, s); err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(g.Order)), "targets")
	})
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			s := p.store(b)
			if _, err := executor.Build(b.Context(), g, s, executor.Options{Jobs: 2, Stages: stages, Now: later}); err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkNoOp28Layers(b *testing.B) { benchmarkNoOp(b, 28, 64) }

func BenchmarkNoOp550Layers(b *testing.B) { benchmarkNoOp(b, 550, 4) }

package view_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/llima-build/llima/cmd/internal/view"
)

func evaluation() *view.Evaluation {
	delta, same := 0.2903, 92.007
	return &view.Evaluation{
		Output: "out/mixed", Against: "out/bf16", Text: "play.txt", Phase: "decode", Tokens: 35770,
		Windows: view.EvalWindows{Scored: "all", Tokens: 512, Count: 70}, Perplexity: 57.5825, PerplexityInterval: &[2]float64{54.898, 60.3983},
		Reference: &view.EvalReference{Perplexity: 57.2922, PerplexityInterval: &[2]float64{54.6241, 60.0907}},
		Delta:     &delta, DeltaInterval: &[2]float64{0.1887, 0.392},
		KL:       &view.EvalKL{Mean: 0.0094412, MeanInterval: &[2]float64{0.0092201, 0.0096599}, P99: 0.0555, Max: 1.25894},
		SameTop1: &same,
		Parts: []view.EvalPart{
			{Part: "decode.PRE.0", Layer: 0, Kind: "PRE", Precision: "A_BF16_W_INT4", Error: 0.0442615},
			{Part: "decode.POST.0", Layer: 0, Kind: "POST", Precision: "A_BF16_W_INT8", Error: 0.0052},
			{Part: "decode.CONV.1", Layer: 1, Kind: "CONV", Precision: "BF16", Error: 0},
			{Part: "decode.PRE.2", Layer: 2, Kind: "PRE", Precision: "A_BF16_W_INT8", Error: 0.0000321},
		},
	}
}

func TestEval(t *testing.T) {
	full := evaluation()
	alone := &view.Evaluation{
		Output: "out/" + strings.Repeat("very-long/", 8) + "mixed", Text: "texts/\x1b[31m.txt", Phase: "prefill", Tokens: 255,
		Windows: view.EvalWindows{Scored: "llama", Tokens: 512, Count: 1}, Perplexity: 57.29,
	}
	block := evaluation()
	block.Eval, block.Model, block.Output, block.Against, block.Parts = "ppl", "tuned-long", "", "BF16", nil
	block.Gate = &view.EvalGate{Metric: "kl", Delta: 0.0094412, MaxDelta: 0.0001, Exceeded: true}
	kept := *block
	kept.Gate = &view.EvalGate{Metric: "perplexity", Delta: 0.29, MaxDelta: 2}
	kept.KL = &view.EvalKL{Mean: 0.000013032, MeanInterval: &[2]float64{0.0000117674, 0.000014}, P99: 0, Max: 0.0002}
	for _, c := range []struct {
		name string
		list []*view.Evaluation
		want string
	}{
		{"full", []*view.Evaluation{full}, `
out/mixed against out/bf16, decode
  play.txt: 35770 tokens scored in 70 windows of 512

                                    95 % confidence
  perplexity               57.5825  54.8980 to 60.3983
    of the reference       57.2922  54.6241 to 60.0907
    difference             +0.2903  +0.1887 to +0.3920
  KL divergence, mean     0.009441  0.009220 to 0.009660
    99 % of tokens below   0.05550
    largest                1.25894
  same most likely token   92.01 %

  error of each part's output, on the inputs of the reference
  layer        PRE       POST       CONV
      0  4.426 % 4  0.520 % 8
      1                        0.000 % B
      2  0.003 % 8
  B BF16 · 8 INT8 · 4 INT4
`},
		{"alone", []*view.Evaluation{alone}, `
out/very-long/very-long/very-long/very-long/very-long/very-long/very-long/very-long/mixed
prefill
  texts/·[31m.txt: 255 tokens scored in 1 window of 512, as llama does

  perplexity  57.2900
`},
		{"blocks", []*view.Evaluation{block, &kept}, `
ppl: tuned-long against BF16, decode
  play.txt: 35770 tokens scored in 70 windows of 512

                                    95 % confidence
  perplexity               57.5825  54.8980 to 60.3983
    of the reference       57.2922  54.6241 to 60.0907
    difference             +0.2903  +0.1887 to +0.3920
  KL divergence, mean     0.009441  0.009220 to 0.009660
    99 % of tokens below   0.05550
    largest                1.25894
  same most likely token   92.01 %
  max_delta of kl           0.0001  exceeded

ppl: tuned-long against BF16, decode
  play.txt: 35770 tokens scored in 70 windows of 512

                                       95 % confidence
  perplexity                  57.5825  54.8980 to 60.3983
    of the reference          57.2922  54.6241 to 60.0907
    difference                +0.2903  +0.1887 to +0.3920
  KL divergence, mean      0.00001303  0.00001177 to 0.00001400
    99 % of tokens below            0
    largest                 0.0002000
  same most likely token      92.01 %
  max_delta of perplexity           2  kept
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			if err := view.Evals(&b, c.list, 80); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + b.String(); got != c.want {
				t.Errorf("got:%s\nwant:%s", got, c.want)
			}
			for line := range strings.Lines(b.String()) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "out/very") {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// TestMeter holds what progress says, by a clock that the test moves.
func TestMeter(t *testing.T) {
	for _, c := range []struct{ mode, want string }{
		{"quiet", ""},
		{"plain", "250 of 1000 tokens, 10s, about 30s left\n"},
		{"tty", "[#####...............] 250 of 1000 tokens, 10s, about 30s left"},
	} {
		now := time.Unix(100, 0)
		var b strings.Builder
		m := view.NewMeter(&b, "tokens", view.ProgressOptions{
			Mode: c.mode, Now: func() time.Time { return now }, Size: func() (int, int) { return 76, 24 },
		})
		m.Set(1, 1000)
		b.Reset()
		now = now.Add(10 * time.Second)
		m.Set(250, 1000)
		got := b.String()
		m.Close()
		if c.mode == "tty" {
			_, got, _ = strings.Cut(got, "\x1b[J")
			if !strings.HasSuffix(b.String(), "\r\x1b[J") {
				t.Errorf("the bar is left behind: %q", b.String())
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.mode, got, c.want)
		}
	}
}

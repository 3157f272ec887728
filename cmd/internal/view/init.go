package view

import (
	"fmt"
	"strings"
)

// Checkpoint is what llima init finds out about a checkpoint. Numbers that it
// does not tell are 0.
type Checkpoint struct {
	Name            string // of the model to be
	Source          string // as the file will name it
	Kind            string // "Hugging Face checkpoint", "GGUF file", …
	Quantised       bool   // its weights are quantised already
	Vision          bool   // it takes images
	Architecture    string
	NumHiddenLayers int
	HiddenSize      int
	VocabSize       int
	MaxTokens       int // that it was trained for
	ContextTokens   int // to build for
	StepTokens      int // of group and mask, where the default does not fit, else 0

	WeightBytes, FloatBytes int64 // of both phases, with the rules as written and in BF16
}

// Configuration returns a commented llima.hcl that builds a checkpoint. quote
// writes a string as the language does.
func Configuration(c *Checkpoint, quote func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, a %s:\n# %s.\n#\n", c.Name, c.Kind, c.facts())
	fmt.Fprintf(&b, "#   llima plan     what would be built, and why\n#   llima build    into out/%s\n", c.Name)
	fmt.Fprintf(&b, "#   llima run out/%s \"Hello\"\n\n", c.Name)
	if !c.Quantised {
		c.policy(&b)
	}
	fmt.Fprintf(&b, "model %s {\n  source = %s\n  output = %s\n\n", quote(c.Name), quote(c.Source), quote("out/"+c.Name))
	b.WriteString("  # The longest conversation, in tokens; the KV cache grows with it.\n")
	if c.MaxTokens > 0 {
		fmt.Fprintf(&b, "  # The model was trained for %d.\n", c.MaxTokens)
	}
	fmt.Fprintf(&b, "  context_length = %d\n", c.ContextTokens)
	if c.StepTokens > 0 {
		fmt.Fprintf(&b, "  language_group_size = %d\n  future_token_mask_size = %d\n", c.StepTokens, c.StepTokens)
	}
	if c.Vision {
		b.WriteString("\n  # The size of images.\n  vision {\n    height = 448\n    width  = 448\n  }\n")
	}
	if c.Quantised {
		b.WriteString("\n  # The weights are quantised already and are carried over as they are, so\n  # there is no precision to choose.\n}\n")
		return b.String()
	}
	b.WriteString(`
  # Without this line all weights are BF16: the best quality, and the largest.
  policies = [policy.balanced]

  # A rule of the model's own goes before those of its policies; the first that
  # matches decides. The outermost layers suffer most from few bits:
  #
  #   layer "edges" {
  #     when      = layer.index == 0 || layer.from_end == 1
  #     precision = "A_BF16_W_INT8"
  #   }
}
`)
	return b.String()
}

func (c *Checkpoint) facts() string {
	facts := []string{c.Architecture}
	for _, f := range []struct {
		n      int
		format string
	}{
		{c.NumHiddenLayers, "%d layers"},
		{c.HiddenSize, "hidden size %d"},
		{c.VocabSize, "vocabulary of %d"},
	} {
		if f.n > 0 {
			facts = append(facts, fmt.Sprintf(f.format, f.n))
		}
	}
	return strings.Join(facts, ", ")
}

func (c *Checkpoint) policy(b *strings.Builder) {
	b.WriteString("# The balance that suits most models: prompts are read with INT8 weights, and\n# tokens are written with INT4 weights, which is faster.\n")
	if c.FloatBytes > 0 {
		fmt.Fprintf(b, "# Weights take %s so, and %s in BF16.\n", Bytes(c.WeightBytes), Bytes(c.FloatBytes))
	}
	b.WriteString("policy \"balanced\" {\n")
	if c.Vision {
		b.WriteString("  layer \"images\" {\n    when      = layer.part == \"VISION\"\n    precision = \"BF16\"\n  }\n")
	}
	b.WriteString(`  layer "prefill" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
  layer "decode" {
    precision = "A_BF16_W_INT4"
  }
}

`)
}

package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/tensor"
)

// maxListed is how many tensors an error lists.
const maxListed = 3

// checkWeights reports tensors of compiled parts that the checkpoint lacks,
// or has in another shape or in a type that holds no weights: here once, and
// not in every target that reads them.
func (m *Model) checkWeights() error {
	want := []arch.TensorShape{{Name: m.Arch.EmbeddingName(), Shape: []int{m.Arch.VocabSize, m.Arch.HiddenSize}}}
	for _, p := range m.Parts {
		if p.Decision.Compile {
			want = append(want, m.Arch.Tensors(p.ID)...)
		}
	}
	var problems []string
	seen := map[string]bool{}
	for _, w := range want {
		if seen[w.Name] {
			continue
		}
		seen[w.Name] = true
		t, ok := m.Checkpoint.Weight(w.Name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("tensor %q is missing", w.Name))
		case !slices.Equal(t.Shape, w.Shape):
			problems = append(problems, fmt.Sprintf("%s: tensor %q has shape %v, config.json implies %v", t.Parts[0].File, w.Name, t.Shape, w.Shape))
		case !t.Coded() && t.DType != tensor.BF16 && t.DType != tensor.F16 && t.DType != tensor.F32:
			problems = append(problems, fmt.Sprintf("%s: tensor %q is %v, weights must be BF16, F16 or F32", t.Parts[0].File, w.Name, t.DType))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	more := ""
	if n := len(problems) - maxListed; n > 0 {
		more, problems = fmt.Sprintf("; and so with %d more", n), problems[:maxListed]
	}
	return fmt.Errorf("%s%s. config.json and the weights must be of one model: bring both from where it was published", strings.Join(problems, "; "), more)
}

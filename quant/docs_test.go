package quant_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/doctable"
	"github.com/llima-build/llima/internal/plot"
	"github.com/llima-build/llima/quant"
)

var update = flag.Bool("update", false, "rewrite the tables and plots of docs/quality.md")

// compared is what testdata/peers/quality/measure.py found of one model.
type compared struct {
	Perplexity map[string]float64
	Rows       []comparedRow
	Pairs      []struct {
		LLima, Peer string
		Ratios      map[string][2]float64 // and half their 95 % intervals
	}
}

type comparedRow struct {
	Tool, Method, Format, Weights string
	Bits                          float64
	CPUSeconds                    float64 `json:"cpu_seconds"`
	Types                         []string
	Own                           *struct {
		Windows   int
		KL, Float float64
	}
	Texts map[string]struct {
		KL, Half, Perplexity float64
		SameTop1             float64 `json:"same_top1"`
	}
}

// name is how a row is called, ours in bold.
func (r *comparedRow) name() string {
	switch r.Tool {
	case "llima":
		return fmt.Sprintf("**llima %s, %s**", r.Format, r.Method)
	case "llama.cpp":
		name := "llama.cpp " + r.Format
		if len(r.Types) > 1 || len(r.Types) == 1 && r.Types[0] != strings.TrimSuffix(r.Format, "_S") {
			name += " (" + strings.Join(r.Types, ", ") + ")"
		}
		if r.Method != "" {
			name += ", " + r.Method
		}
		return name
	}
	return fmt.Sprintf("%s %s %s", r.Tool, r.Method, r.Format)
}

func readCompared(t *testing.T) map[string]*compared {
	t.Helper()
	b, err := os.ReadFile("../testdata/peers/quality/results.json")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*compared{}
	if err := json.Unmarshal(b, &found); err != nil {
		t.Fatal(err)
	}
	for _, m := range found {
		slices.SortFunc(m.Rows, func(a, b comparedRow) int {
			return cmp.Or(cmp.Compare(math.Round(1000*a.Bits), math.Round(1000*b.Bits)), cmp.Compare(a.Texts["tempest"].KL, b.Texts["tempest"].KL))
		})
	}
	return found
}

const docsCommand = "go test ./quant -run TestQualityDocs -update"

// TestQualityDocs holds the tables and plots of docs/quality.md to what was
// measured.
func TestQualityDocs(t *testing.T) {
	found := readCompared(t)
	for model, m := range found {
		rows := []string{"| bits | quantiser | KL, Tempest | KL, Opticks | same top-1 | perplexity | CPU s |", "|---|---|---|---|---|---|---|"}
		forwards := []string{"| | windows | own forward | float32 |", "|---|---|---|---|"}
		for _, r := range m.Rows {
			a, b := r.Texts["tempest"], r.Texts["opticks"]
			rows = append(rows, fmt.Sprintf("| %.3f | %s | %s | %s | %.1f %% | %.2f | %s |", r.Bits, r.name(),
				within(a.KL, a.Half), within(b.KL, b.Half), 100*a.SameTop1, a.Perplexity, seconds(r.CPUSeconds)))
			if r.Own != nil {
				forwards = append(forwards, fmt.Sprintf("| %s | %d | %.5f | %.5f |", r.name(), r.Own.Windows, r.Own.KL, r.Own.Float))
			}
		}
		ratios := []string{"| llima | against | KL, Tempest | KL, Opticks |", "|---|---|---|---|"}
		for _, p := range m.Pairs {
			a, b := p.Ratios["tempest"], p.Ratios["opticks"]
			ratios = append(ratios, fmt.Sprintf("| %s | %s | %.2f ± %.2f | %.2f ± %.2f |", p.LLima, p.Peer, a[0], a[1], b[0], b[1]))
		}
		for name, lines := range map[string][]string{"rows": rows, "ratios": ratios, "forwards": forwards} {
			doctable.Table{File: "../docs/quality.md", Name: model + " " + name, Command: docsCommand}.Check(t, *update, lines, nil)
		}
	}
	const plotted = "bard-3m" // the model that all contenders were measured on
	checkPlot(t, plotted, found[plotted], 4, 6)
	checkPlot(t, plotted, found[plotted], 8, 9)
}

// within writes a value and half its interval, both to two digits of the value.
func within(v, half float64) string {
	digits := 5
	if v > 0 {
		digits = max(0, 1-int(math.Floor(math.Log10(v))))
	}
	return fmt.Sprintf("%.*f ± %.*f", digits+1, v, digits+1, half)
}

func seconds(s float64) string {
	if s < 10 {
		return strconv.FormatFloat(s, 'f', 1+int(math.Max(0, -math.Floor(math.Log10(s)))), 64)
	}
	return strconv.FormatFloat(s, 'f', 0, 64)
}

// checkPlot holds a plot of rows in between so many bits to what was measured.
func checkPlot(t *testing.T, model string, m *compared, from, to float64) {
	t.Helper()
	s := plot.Scatter{Labels: plot.Labels{
		Title:       fmt.Sprintf("What %s loses in %v to %v bits a weight", model, from, to),
		Description: "KL divergence of the quantisers of docs/quality.md.",
		X:           "bits a weight", Y: "KL divergence, nats (Tempest)",
	}}
	var hints []string
	for _, tool := range []string{"llama.cpp", "llm-compressor", "llima"} { // ours on top
		set := plot.PointSet{Name: tool}
		for _, r := range m.Rows {
			if r.Tool == tool && from <= r.Bits && r.Bits < to {
				hint := fmt.Sprintf("%s: KL %.3g", strings.Trim(r.name(), "*"), r.Texts["tempest"].KL)
				label := strings.TrimSpace(r.Method + " " + r.Format[strings.IndexByte(r.Format, ' ')+1:])
				set.Points = append(set.Points, plot.Point{X: r.Bits, Y: r.Texts["tempest"].KL, Label: label, Hint: hint})
				hints = append(hints, hint)
			}
		}
		s.Sets = append(s.Sets, set)
	}
	path := fmt.Sprintf("../docs/quality-%s-%v.svg", strings.ToLower(model), from)
	if *update {
		if err := os.WriteFile(path, s.SVG(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, hint := range hints { // the points, however they are drawn
		if !bytes.Contains(have, []byte(hint)) {
			t.Errorf("%s lacks %q; run %s", path, hint, docsCommand)
		}
	}
}

// TestQualityRows makes the weights of bard-3m that need no data again: those
// which were compared with peers are those that this code gives, to the bit.
func TestQualityRows(t *testing.T) {
	file, err := safetensors.Open("../testdata/models/bard-3m/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	methods := map[string]quant.Method{"nearest": quant.Nearest, "search": quant.Search}
	checked := 0
	for _, r := range readCompared(t)["bard-3m"].Rows {
		method, ok := methods[r.Method]
		if r.Tool != "llima" || !ok {
			continue
		}
		checked++
		f := quant.Format{Method: method}
		var group string
		if _, err := fmt.Sscanf(r.Format, "INT%d %s", &f.Bits, &group); err != nil {
			t.Fatalf("format %q: %v", r.Format, err)
		}
		if group != "channel" {
			if f.GroupSize, err = strconv.Atoi(strings.TrimPrefix(group, "g")); err != nil {
				t.Fatal(err)
			}
		}
		if got := dequantisedDigest(t, file, f); got != r.Weights {
			t.Errorf("%s: weights have SHA-256 %s; those in docs/quality.md had %s: measure again (testdata/peers/README.md)", r.name(), got, r.Weights)
		}
	}
	if checked < 8 {
		t.Errorf("%d rows of llima were checked, want 8 or more", checked)
	}
}

// dequantisedDigest is the SHA-256 of all matrices of layers, as float32
// little-endian, in the order of their names.
func dequantisedDigest(t *testing.T, file *safetensors.File, f quant.Format) string {
	t.Helper()
	h := sha256.New()
	entries := slices.SortedFunc(slices.Values(file.Tensors()), func(a, b safetensors.Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		if len(e.Shape) != 2 || !strings.Contains(e.Name, ".layers.") {
			continue
		}
		n, k := e.Shape[0], e.Shape[1]
		codes, scales, err := quant.Quantize(file.Bytes(e), e.DType, n, k, f)
		if err != nil {
			t.Fatal(err)
		}
		values, groups := make([]byte, 0, 4*n*k), f.Groups(k)
		for i, c := range codes {
			group := 0
			if f.GroupSize != 0 {
				group = i % k / f.GroupSize
			}
			scale := make([]float32, 1)
			if err := tensor.ToF32(scale, binary.LittleEndian.AppendUint16(nil, scales[i/k*groups+group]), tensor.F16); err != nil {
				t.Fatal(err)
			}
			values = binary.LittleEndian.AppendUint32(values, math.Float32bits(float32(c)*scale[0]))
		}
		h.Write(values)
	}
	return hex.EncodeToString(h.Sum(nil))
}

package load_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/load"
)

// FuzzLoad asks for no more than an answer, soon, whatever the text is.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	f.Add(ruled)
	f.Add(variables)
	f.Add(blocks)
	props := config.Properties{NumHiddenLayers: 2, Architecture: "llama", Format: "hf"}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		cfg, diags := load.Source("llima.hcl", []byte(text), load.Options{})
		if cfg == nil || cfg.Sources == nil {
			t.Fatal("Source returned no configuration")
		}
		for _, d := range diags {
			if r := d.Subject; r != nil && r.File == "llima.hcl" && (r.Start.Byte < 0 || r.End.Byte > len(text)) {
				t.Errorf("range %+v is outside of %d bytes", *r, len(text))
			}
		}
		if !diags.HasErrors() {
			for _, m := range cfg.Models[:min(4, len(cfg.Models))] {
				_ = lang.CheckRules(m, props, parts(2))
				alsoFound(t, m)
			}
		}
		if d := time.Since(start); d > hang {
			t.Errorf("Source took %v", d)
		}
	})
}

// TestHostileText holds shapes that once cost, or could cost, too much.
func TestHostileText(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":     "locals {\n a = " + strings.Repeat("(", 100000),
		"tuples":       "locals {\n a = " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\n}\n",
		"blocks":       strings.Repeat("model \"a\" {\n", 10000),
		"negations":    "locals {\n a = " + strings.Repeat("!", 100000) + "true\n}\n",
		"minus":        "locals {\n a = " + strings.Repeat("- ", 100000) + "1\n}\n",
		"sum":          "locals {\n a = 1" + strings.Repeat("+1", 50000) + "\n}\n",
		"ternaries":    "locals {\n a = " + strings.Repeat("true?1:", 30000) + "1\n}\n",
		"templates":    "locals {\n a = " + strings.Repeat("\"${", 50000) + "\n}\n",
		"interpolated": "locals {\n a = \"" + strings.Repeat("${1}", 15000) + "\"\n}\n",
		"indexes":      "locals {\n a = upper(\"x\")" + strings.Repeat("[0]", 80000) + "\n}\n",
		"splats":       "locals {\n a = [1]" + strings.Repeat("[*]", 30000) + "\n}\n",
		"attributes":   "locals {\n a = {}" + strings.Repeat(".a", 100000) + "\n}\n",
		"locals":       "locals {\n" + chain(8000) + "}\n",
		"doubling":     "locals {\n a0 = [1]\n" + doubling(60) + "}\n",
		"huge number":  "locals {\n a = 1e999999999\n}\nmodel \"a\" {\n source = \"x\"\n context_length = local.a\n}\n",
		"pow":          "model \"a\" {\n source = \"x\"\n context_length = pow(10, 400)\n}\n",
		"loops":        "locals {\n a = [for i in range(1024) : [for j in range(1024) : i * j]]\n}\n",
		"loop texts":   "locals {\n a = join(\"\", [for i in range(1024) : \"" + strings.Repeat("x", 4000) + "\"])\n b = [for i in range(1024) : \"${local.a}${i}\"]\n}\n",
		"loop rule":    "model \"a\" {\n source = \"x\"\n layer \"b\" {\n when = length([for i in range(1024) : [for j in range(layer.index) : i]]) > 1\n }\n}\n",
		"directive":    "locals {\n a = \"%{for i in range(1024)}%{for j in range(1024)}xxxxxxxxxxxxxxxxxxxxxxxxx%{endfor}%{endfor}\"\n}\n",
		"template":     "locals {\n a = join(\"\", [for i in range(1000) : \"" + strings.Repeat("x", 4000) + "\"])\n b = \"" + strings.Repeat("${local.a}", 20000) + "\"\n}\n",
		"replace":      big + " b = replace(local.a, \"x\", local.a)\n c = regexreplace(local.a, \"x\", local.a)\n}\n",
		"join":         big + " b = join(local.a, split(\"\", substr(local.a, 0, 50000)))\n}\n",
		"formats":      big + " b = format(\"" + strings.Repeat("%[1]s", 8000) + "\", local.a)\n c = formatlist(\"%s%s\", local.a, split(\"\", substr(local.a, 0, 50000)))\n}\n",
		"indent":       big + " b = indent(999, replace(local.a, \"x\", \"\\n\"))\n}\n",
		"pieces":       big + " b = split(\"\", local.a)\n c = regexall(\"\", local.a)\n}\n",
		"lists":        "locals {\n a = split(\"\", \"" + strings.Repeat("x", 40000) + "\")\n b = concat(" + strings.Repeat("local.a, ", 10000) + "[])\n c = flatten([" + strings.Repeat("local.a, ", 10000) + "])\n}\n",
		"json":         "locals {\n a = jsondecode(join(\"\", [for i in range(1000) : \"" + strings.Repeat("[", 1000) + "\"]))\n}\n",
		"copies":       "model \"a\" {\n matrix = { a = range(1000), b = range(1000), c = range(1000) }\n source = \"x\"\n}\n",
		"long line":    "#" + strings.Repeat("x", 300<<10),
		"nul":          "model \"a\" {\n source = \"\\u0000\"\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			cfg, diags := load.Source("llima.hcl", []byte(text), load.Options{})
			if !diags.HasErrors() {
				for _, m := range cfg.Models {
					diags = append(diags, lang.CheckRules(m, config.Properties{NumHiddenLayers: 80}, parts(80))...)
				}
			}
			if d := time.Since(start); d > hang {
				t.Errorf("Source took %v: %.200v", d, diags.Error())
			}
		})
	}
}

// hang is what no text may take, on the slowest machine that runs the tests:
// what these texts would take without bounds is minutes to forever.
const hang = 3 * time.Minute

// big begins a file with a local of a million bytes.
var big = "locals {\n a = join(\"\", [for i in range(1000) : \"" + strings.Repeat("x", 1000) + "\"])\n"

func chain(n int) string {
	var b strings.Builder
	b.WriteString(" a0 = 1\n")
	for i := 1; i < n; i++ {
		b.WriteString(" a" + strconv.Itoa(n-i) + " = local.a" + strconv.Itoa(n-i-1) + "\n")
	}
	return b.String()
}

func doubling(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		b.WriteString(" a" + strconv.Itoa(i) + " = concat(local.a" + strconv.Itoa(i-1) + ", local.a" + strconv.Itoa(i-1) + ")\n")
	}
	return b.String()
}

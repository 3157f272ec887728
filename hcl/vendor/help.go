package vendor

import (
	"fmt"
	"strings"
)

// Usage is the first line of the help, and what stands above an error.
const Usage = "usage: llima-compile [options] <model_path>\n"

// Help returns what --help prints, in the order of the vendor's page.
func Help() string {
	var b strings.Builder
	b.WriteString(Usage + `
Compile a model from Hugging Face safetensors, a GGUF file or a pre-quantized
compressed tensor model (GPTQ, AWQ) to programs for the emulated Modalix
machine. It is llima's engine: what is up to date is not built again, and
llima import -- llima-compile ARGS writes the llima.hcl that does the same.

positional arguments:
`)
	writeEntry(&b, positional, "Input model path: Hugging Face directory, GGUF file, or pre-quantized compressed tensor directory.")
	for _, g := range groups {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, o := range g.options {
			name := "--" + o.long
			if o.short != "" {
				name = "-" + o.short + ", " + name
			}
			if o.metavar != "" {
				name += " " + o.metavar
			}
			writeEntry(&b, name, o.help)
		}
	}
	b.WriteString(`
Long options can be shortened where only one fits, and their values can stand
behind a blank or an equals sign.

Exit codes: 0 done; 1 a build, a model or a configuration file failed;
2 wrong arguments; 130 interrupted.
`)
	return b.String()
}

// helpColumn is where explanations begin, and helpWidth where lines end.
const helpColumn, helpWidth = 28, 79

// writeEntry writes a name and its explanation beside it, or below where the name
// is long.
func writeEntry(b *strings.Builder, name, help string) {
	line := "  " + name
	if len(line) > helpColumn-2 {
		b.WriteString(line + "\n")
		line = ""
	}
	line += strings.Repeat(" ", helpColumn-len(line))
	start := len(line)
	for word := range strings.FieldsSeq(help) {
		if len(line)+1+len(word) > helpWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", helpColumn)
			start = len(line)
		}
		if len(line) > start {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}

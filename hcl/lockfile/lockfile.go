// Package lockfile reads and writes llima.lock.hcl, which lists the digests of
// the files that models are built from: a line for each, sorted by path. It
// knows neither what the files are nor how they are hashed.
package lockfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// Name is the name of the file, beside llima.hcl.
const Name = "llima.lock.hcl"

const header = "# Digests of the files that models are built from. Check this file in; to accept\n# other files: llima lock\n"

// Encode writes digests by path. Equal ones give equal bytes.
func Encode(digests map[string]string) []byte {
	var b strings.Builder
	b.WriteString(header)
	for i, path := range slices.Sorted(maps.Keys(digests)) {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "file %s { digest = %s }\n", quote(path), quote(digests[path]))
	}
	return []byte(b.String())
}

func quote(s string) string { return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes()) }

// Decode reads digests by path. name is that of the file, for diagnostics.
func Decode(name string, src []byte) (map[string]string, diag.List) {
	body, list := lang.Parse(name, src)
	if body == nil || list.HasErrors() {
		return nil, list
	}
	out := map[string]string{}
	for _, a := range body.Attributes {
		list = append(list, lang.Errorf(a.NameRange, "Damaged lock file", "%s holds file blocks only. To write it again:\n\n    llima lock", Name))
	}
	for _, b := range body.Blocks {
		digest, problem := readFile(b)
		switch _, twice := out[strings.Join(b.Labels, "")]; {
		case problem == "" && twice:
			problem = fmt.Sprintf("it lists %q twice", b.Labels[0])
			fallthrough
		case problem != "":
			list = append(list, lang.Errorf(b.DefRange(), "Damaged lock file", "In %s %s. To write it again:\n\n    llima lock", Name, problem))
		default:
			out[b.Labels[0]] = digest
		}
	}
	return out, list.Sorted()
}

func readFile(b *hclsyntax.Block) (digest, problem string) {
	if b.Type != "file" || len(b.Labels) != 1 {
		return "", `a block is not file "PATH"`
	}
	a := b.Body.Attributes["digest"]
	if a == nil || len(b.Body.Attributes) != 1 || len(b.Body.Blocks) > 0 {
		return "", "a file block does not hold one digest"
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() || v.IsNull() || v.Type() != cty.String {
		return "", "a digest is not a string"
	}
	return v.AsString(), ""
}

package lang_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/lang"
)

// TestDocumented holds docs/language.md to the schema: each attribute has a
// line in the section of its block that states its default.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for part := range strings.SplitSeq(string(doc), "\n## ") {
		title, body, _ := strings.Cut(part, "\n")
		sections[title] = body
	}
	var visit func(b *lang.Block, path string)
	visit = func(b *lang.Block, path string) {
		section, ok := sections[path]
		if b.Type != "" && !ok {
			t.Errorf("docs/language.md has no section %q", path)
			return
		}
		for _, a := range b.Attributes {
			row := regexp.MustCompile("(?m)^\\| `" + a.Name + "` \\|.*$").FindString(section)
			switch {
			case row == "":
				t.Errorf("docs/language.md: section %q has no row for %s", path, a.Name)
			case a.Default != "" && !strings.Contains(row, "`"+a.Default+"`"):
				t.Errorf("docs/language.md: section %q: row of %s lacks its default %s", path, a.Name, a.Default)
			case a.Required && !strings.Contains(row, "required"):
				t.Errorf("docs/language.md: section %q: row of %s does not say that it is required", path, a.Name)
			}
			for _, v := range a.Values {
				if !strings.Contains(row, "`"+v+"`") && !strings.Contains(row, "`\""+v+"\"`") {
					t.Errorf("docs/language.md: section %q: row of %s lacks the value %s", path, a.Name, v)
				}
			}
		}
		for _, n := range b.Blocks {
			sub := n.Type
			if n.Labelled {
				sub += ` "NAME"`
			}
			if n.Type == "layer" && strings.HasPrefix(path, "policy") {
				continue // documented with models
			}
			if b.Type != "" {
				sub = b.Type + " › " + sub
			}
			visit(n, sub)
		}
	}
	visit(lang.Root, "")
	for _, name := range lang.FunctionNames() {
		if f := sections["Functions"]; !strings.Contains(f, "`"+name+"`") && !strings.Contains(f, "`"+name+"(") {
			t.Errorf("docs/language.md: section Functions lacks %s", name)
		}
	}
}

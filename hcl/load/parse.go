package load

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

var (
	labelPattern      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)
	identifierPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,99}$`)
)

// checkBody compares a body with its schema: names, labels, repetitions and
// what is missing. what names the body in messages, "a model block".
func checkBody(body *hclsyntax.Body, schema *lang.Block, what string, at hcl.Range) diag.List {
	var out diag.List
	for name, attr := range body.Attributes {
		if _, ok := schema.Attribute(name); !ok && !schema.Free {
			out = append(out, unknownAttribute(attr, schema, what))
		}
	}
	for _, a := range schema.Attributes {
		if a.Required && body.Attributes[a.Name] == nil {
			out = append(out, lang.Errorf(at, "Missing attribute", "%s needs the attribute %q.", capital(what), a.Name))
		}
	}
	first := map[string]*hclsyntax.Block{}
	for _, b := range body.Blocks {
		nested, ok := schema.Block(b.Type)
		if !ok {
			out = append(out, unknownBlock(b, schema, what))
			continue
		}
		diags := checkLabels(b, nested)
		out = append(out, diags...)
		if key := b.Type + "\x00" + strings.Join(b.Labels, "\x00"); !diags.HasErrors() && (nested.Labelled || nested.Single) {
			if earlier := first[key]; earlier != nil {
				out = append(out, duplicate(b, earlier, nested))
			} else {
				first[key] = b
			}
		}
		out = append(out, checkBody(b.Body, nested, article(b.Type)+" "+b.Type+" block", b.DefRange())...)
	}
	return out
}

// attributesMeant are names of the vendor's tool and of other languages.
var attributesMeant = map[string]map[string]string{
	"model": {
		"model_path": "The checkpoint is called source.", "path": "The checkpoint is called source.",
		"max_num_tokens": "It is called context_length here.", "max_tokens": "It is called context_length here.",
		"configuration_file": "Write layer blocks: each is a rule about parts.",
		"input_height":       "Write vision { height = … }.", "input_width": "Write vision { width = … }.",
		"lora_name": "Write adapter \"NAME\" { path = … }.", "lora_path": "Write adapter \"NAME\" { path = … }.",
		"count": "To make several, write for_each with a map or a set: its keys name the copies.",
		"when":  "Conditions stand in layer blocks.", "jobs": "Write executor { jobs = … } beside the models.",
	},
	"layer": {
		"condition": "It is called when here.", "if": "It is called when here.", "skip": "Write compile = false.",
		"part": "Write when = layer.part == …", "index": "Write when = layer.index == …", "is_group": "Write when = layer.is_group",
		"phase": "Write when = layer.phase == …",
	},
}

func unknownAttribute(attr *hclsyntax.Attribute, schema *lang.Block, what string) diag.Diagnostic {
	if nested, ok := schema.Block(attr.Name); ok {
		return lang.Errorf(attr.NameRange, "Unknown attribute", "%s is a block. Write it without an equals sign:\n\n    %s {\n      …\n    }", attr.Name, header(nested))
	}
	known := attributeNames(schema)
	detail := fmt.Sprintf("There is no attribute %q in %s.", attr.Name, what)
	if hint := attributesMeant[schema.Type][attr.Name]; hint != "" {
		return diagAt(attr.NameRange, "Unknown attribute", detail+" "+hint)
	}
	if s := lang.Suggest(attr.Name, append(known, blockNames(schema)...)); s != "" {
		detail += fmt.Sprintf(" Did you mean %q?", s)
	} else if len(known) > 0 {
		detail += " It takes " + lang.Join(known, "and") + "."
	}
	return diagAt(attr.NameRange, "Unknown attribute", detail)
}

// blocksMeant are what people call blocks.
var blocksMeant = map[string]string{
	"rule": "layer", "rules": "layer", "lora": "adapter", "image": "vision", "var": "variable", "local": "locals",
	"target": "model", "models": "model", "settings": "llima", "quantize": "quantization", "limits": "budget", "board": "backend",
}

func unknownBlock(b *hclsyntax.Block, schema *lang.Block, what string) diag.Diagnostic {
	if _, ok := schema.Attribute(b.Type); ok {
		return lang.Errorf(b.TypeRange, "Unknown block", "%s is an attribute. Write it with an equals sign:\n\n    %s = …", b.Type, b.Type)
	}
	known := blockNames(schema)
	detail := fmt.Sprintf("There is no block %q in %s.", b.Type, what)
	meant := lang.Suggest(b.Type, known)
	if hint := blocksMeant[b.Type]; slices.Contains(known, hint) {
		meant = hint
	}
	switch s := meant; {
	case s != "":
		detail += fmt.Sprintf(" Did you mean %q?", s)
	case len(known) > 0:
		detail += " It takes " + lang.Join(known, "and") + "."
	default:
		detail += " It takes attributes only."
	}
	return diagAt(b.TypeRange, "Unknown block", detail)
}

func diagAt(at hcl.Range, summary, detail string) diag.Diagnostic {
	return lang.Errorf(at, summary, "%s", detail)
}

func checkLabels(b *hclsyntax.Block, schema *lang.Block) diag.List {
	switch {
	case schema.Labelled && len(b.Labels) == 0:
		return diag.List{lang.Errorf(b.TypeRange, "Missing name", "%s %s block needs a name:\n\n    %s {", capital(article(b.Type)), b.Type, header(schema))}
	case !schema.Labelled && len(b.Labels) > 0:
		return diag.List{lang.Errorf(b.LabelRanges[0], "Unexpected name", "%s %s block has no name.", capital(article(b.Type)), b.Type)}
	case len(b.Labels) > 1:
		return diag.List{lang.Errorf(b.LabelRanges[1], "Unexpected name", "%s %s block has one name only.", capital(article(b.Type)), b.Type)}
	case !schema.Labelled:
		return nil
	}
	if b.Type == "variable" || b.Type == "policy" {
		if !identifierPattern.MatchString(b.Labels[0]) {
			return diag.List{lang.Errorf(b.LabelRanges[0], "Invalid name", "%q cannot be the name of a %s: it takes letters, digits, _ and -, and begins with a letter, so that expressions can name it.", b.Labels[0], b.Type)}
		}
		return nil
	}
	if known := schema.Labels; known != nil && !slices.Contains(known, b.Labels[0]) {
		return diag.List{lang.Errorf(b.LabelRanges[0], "Unknown name", "There is no %s %q; there is %s.%s", b.Type, b.Labels[0], lang.Join(known, "and"), meant(b.Labels[0], known))}
	}
	if !labelPattern.MatchString(b.Labels[0]) {
		return diag.List{lang.Errorf(b.LabelRanges[0], "Invalid name", "%q cannot be the name of %s %s: it takes letters, digits, _, - and ., because addresses and paths are made of it.", b.Labels[0], article(b.Type), b.Type)}
	}
	return nil
}

func duplicate(b, earlier *hclsyntax.Block, schema *lang.Block) diag.Diagnostic {
	line := earlier.DefRange().Start.Line
	if schema.Labelled {
		return lang.Errorf(b.DefRange(), "Duplicate name", "There is %s %s %q already, on line %d. Names are unique among their siblings.", article(b.Type), b.Type, b.Labels[0], line)
	}
	return lang.Errorf(b.DefRange(), "Duplicate block", "There is %s %s block already, on line %d. At most one can be given.", article(b.Type), b.Type, line)
}

func header(schema *lang.Block) string {
	if schema.Labelled {
		return schema.Type + ` "NAME"`
	}
	return schema.Type
}

func attributeNames(b *lang.Block) []string {
	out := make([]string, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		out = append(out, a.Name)
	}
	return out
}

func blockNames(b *lang.Block) []string {
	out := make([]string, 0, len(b.Blocks))
	for _, n := range b.Blocks {
		out = append(out, n.Type)
	}
	return out
}

func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeio", rune(noun[0])) {
		return "an"
	}
	return "a"
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// sortedAttributes returns the attributes of a body in order of their text.
func sortedAttributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(body.Attributes), func(a, b *hclsyntax.Attribute) int {
		return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte
	})
}

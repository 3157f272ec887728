package lang

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/diag"
)

// retold returns what a parser said, in our words where it is about slips that
// are common, and only the first finding of a line: what follows it there is
// most often its consequence.
func retold(list diag.List, src []byte) diag.List {
	var out diag.List
	seen := map[int]bool{}
	for _, d := range list.Sorted() {
		if r := d.Subject; r != nil {
			if seen[r.Start.Line] {
				continue
			}
			seen[r.Start.Line] = true
			d = retell(d, source{src, *r})
		}
		out = append(out, d)
		if d.Summary == "Invalid multi-line string" {
			break // a missing quote turns the rest of the file inside out
		}
	}
	return out
}

// source is a piece of a file with what stands around it.
type source struct {
	text []byte
	at   diag.Range
}

// piece is the text itself, before what stands on its line in front of it, and
// after what follows it there.
func (s source) piece() string {
	return string(s.text[min(s.at.Start.Byte, len(s.text)):min(s.at.End.Byte, len(s.text))])
}

func (s source) before() string {
	line := string(s.text[:min(s.at.Start.Byte, len(s.text))])
	return strings.TrimSpace(line[strings.LastIndexByte(line, '\n')+1:])
}

func (s source) after() string {
	line, _, _ := strings.Cut(string(s.text[min(s.at.End.Byte, len(s.text)):]), "\n")
	return strings.TrimSpace(line)
}

func retell(d diag.Diagnostic, s source) diag.Diagnostic {
	switch d.Summary {
	case "Missing newline after argument", "Unexpected comma after argument":
		d.Summary = "Unexpected text after a value"
		d.Detail = "An attribute ends at the end of its line, unless a bracket is open." + goesOn(s)
	case "Argument or block definition required":
		d.Summary = "Neither an attribute nor a block"
		d.Detail = "Here stands an attribute, NAME = VALUE, or a block, TYPE \"NAME\" { … }."
		if strings.HasPrefix(s.after(), ":") {
			d.Detail = fmt.Sprintf("An attribute has an equals sign: %s = %s", s.piece(), strings.TrimSpace(s.after()[1:]))
		}
		if s.piece() == "}" {
			d.Detail = "This brace closes nothing: there is one too many, here or above."
		}
	case "Attribute redefined":
		d.Summary = duplicateAttribute
		line := "above"
		if m := setAt.FindStringSubmatch(d.Detail); m != nil {
			line = "on line " + m[1]
		}
		d.Detail = fmt.Sprintf("The attribute %q stands in this block already, %s. Remove one of the two.", s.piece(), line)
	case "Invalid block definition":
		if s.piece() == "\n" || s.piece() == "\r\n" || s.piece() == "" {
			d.Detail = "The opening brace of a block stands on the line of its name."
		}
	case "Invalid single-argument block definition":
		d.Detail = "A block on one line has one attribute at most. Give each attribute a line of its own."
	case "Unclosed configuration block":
		d.Summary = "Unclosed block"
		d.Detail = "The file ends before this block is closed. Add the missing }, for this block or for one within it."
	}
	return d
}

const duplicateAttribute = "Duplicate attribute"

// setAt finds the line in what the parser says of an attribute that is there.
var setAt = regexp.MustCompile(`:([0-9]+),[0-9]+`)

// Readable reports whether a file with these findings can be read in spite of
// them.
func Readable(diags diag.List) bool {
	return !slices.ContainsFunc(diags, func(d diag.Diagnostic) bool {
		return d.Severity == diag.Error && d.Summary != duplicateAttribute
	})
}

// operatorsMeant are the operators of other languages.
var operatorsMeant = map[string]string{
	"and": `"And" is written &&.`, "or": `"Or" is written ||.`, "not": `"Not" is written !.`,
	"in": "To ask whether a list has a value, write contains(LIST, VALUE).", "if": "A choice is written CONDITION ? VALUE : OTHER.",
	"is": "To compare, write ==.", "=": "To compare, write ==.", ";": "Attributes are not separated by anything but line breaks.",
	",": "Attributes are not separated by anything but line breaks.",
}

// goesOn says what the text after a value was meant for.
func goesOn(s source) string {
	before := strings.Fields(s.before())
	hint := operatorsMeant[s.piece()]
	if len(before) > 0 && before[len(before)-1] == "not" {
		hint = operatorsMeant["not"]
	}
	if hint == "" && strings.HasPrefix(s.after(), "=") && !strings.HasPrefix(s.after(), "==") {
		hint = "Begin a new line with " + s.piece() + "."
	}
	if hint == "" {
		return ""
	}
	return " " + hint
}

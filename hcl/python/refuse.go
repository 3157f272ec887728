package python

import "github.com/llima-build/llima/internal/diag"

// refusals says of each construct that cannot be used what it is called and
// how to write it instead.
var refusals = map[string][2]string{
	"class":    {"a class with bases, decorators or functions", "A class of constants alone is fine; functions stand at the top of the file:\n\n    class Precision:\n        EARLY = \"BF16\"\n        REST = \"A_BF16_W_INT8\""},
	"try":      {"try", "An error always ends the script. Ask first instead:\n\n    value = table.get(key, default)\n    if key in table:"},
	"with":     {"with", "Files cannot be opened; write their content into the script as a list or a dict."},
	"async":    {"async", "Write an ordinary function or loop."},
	"await":    {"await", "Call an ordinary function."},
	"pattern":  {"this pattern", "Patterns are literals, dotted names, alternatives with |, _, and lists, tuples and dicts of these. What else there is to test stands in if and elif, or behind the pattern:\n\n    case _ if layer[\"index\"] > 20:"},
	"global":   {"global", "The function is asked about the parts in no particular order, so it may not change names of the script. Return the value, or compute it at the top of the file."},
	"nonlocal": {"nonlocal", "Return the value, or keep it in a list or a dict of the outer function."},
	"yield":    {"yield", "Collect the values in a list and return it."},
	":=":       {"an assignment within an expression (:=)", "Assign on a line of its own before it."},
	"bytes":    {"a bytes literal", "Write a string, without the b before it."},
	"t-string": {"a template string", "Write an f-string."},
	"else":     {"else after a loop", "Set a name before the loop and test it after:\n\n    found = False\n    for …:\n        if …:\n            found = True\n            break\n    if not found:"},
	"@":        {"the matrix operator @", "Multiply with * in a loop."},
	"is":       {"is between values", "It compares identities. Values are compared with ==; is works with None, True and False only."},
	"*target":  {"* in what is assigned to", "Take the pieces by their places:\n\n    first = values[0]\n    rest = values[1:]"},
	".target":  {"assigning to an attribute", "Values have no attributes that could be set; use a dict:\n\n    settings[\"name\"] = value"},
	"target":   {"assigning to this expression", "Assign to a name, an element, or a tuple of them."},
	"slice":    {"assigning to a slice", "Build a new list from the pieces:\n\n    values = values[:2] + new + values[4:]"},
	"(for":     {"a generator that is kept", "Write a list, in square brackets:\n\n    [x for x in values]"},
	"next":     {"next of what is no generator in brackets", "Write next((x for x in values if …), default), or take values[0]."},
	"*":        {"* here", "Write the values out, or add lists with +."},
	"...":      {"the value ...", "Use None."},
	"import *": {"import *", "Name what is needed:\n\n    from math import ceil"},
	"return":   {"return outside of a function", "Put it into the function."},
}

// refuse reports a construct at its place.
func (t *translator) refuse(what string, start, end diag.Pos) {
	text := refusals[what]
	t.report(start, end, "Python that cannot be used here", "This script may not use %s. %s", text[0], text[1])
}

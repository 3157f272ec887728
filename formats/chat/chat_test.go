package chat_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llima-build/llima/formats/chat"
)

// TestFamilies renders the templates of checkpoints as transformers does.
func TestFamilies(t *testing.T) {
	files, err := filepath.Glob("testdata/families/*.json")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d families, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var doc struct {
				Template  string          `json:"template"`
				Variables json.RawMessage `json:"variables"`
				Cases     []struct {
					Messages            json.RawMessage `json:"messages"`
					AddGenerationPrompt bool            `json:"add_generation_prompt"`
					Rendered            string          `json:"rendered"`
				} `json:"cases"`
			}
			readJSON(t, file, &doc)
			tmpl, err := chat.Parse(doc.Template)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range doc.Cases {
				got, err := tmpl.Render(c.Messages, chat.Options{AddGenerationPrompt: c.AddGenerationPrompt, Variables: doc.Variables})
				if err != nil || got != c.Rendered {
					t.Errorf("Render(%s) = %q, %v, want %q", c.Messages, got, err, c.Rendered)
				}
			}
		})
	}
}

func readJSON(tb testing.TB, path string, v any) {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		tb.Fatal(err)
	}
}

type vectors struct {
	Variables json.RawMessage `json:"variables"`
	Cases     [][2]*string    `json:"cases"`
}

// split takes the messages out of the variables.
func (v vectors) split(tb testing.TB) json.RawMessage {
	tb.Helper()
	var m struct {
		Messages json.RawMessage `json:"messages"`
	}
	if err := json.Unmarshal(v.Variables, &m); err != nil {
		tb.Fatal(err)
	}
	return m.Messages
}

// TestVectors compares with Jinja, testdata/vectors.py.
func TestVectors(t *testing.T) {
	var v vectors
	readJSON(t, "testdata/vectors.json", &v)
	messages := v.split(t)
	for _, c := range v.Cases {
		tmpl, err := chat.Parse(*c[0])
		got := ""
		if err == nil {
			got, err = tmpl.Render(messages, chat.Options{AddGenerationPrompt: true, Variables: v.Variables})
		}
		switch {
		case c[1] == nil && err == nil:
			t.Errorf("%q = %q, want an error", *c[0], got)
		case c[1] != nil && err != nil:
			t.Errorf("%q: %v, want %q", *c[0], err, *c[1])
		case c[1] != nil && got != *c[1]:
			t.Errorf("%q = %q, want %q", *c[0], got, *c[1])
		}
	}
}

func TestStrftime(t *testing.T) {
	tmpl, err := chat.Parse(`{{ strftime_now("%d %b %Y %-d %A %H:%M:%S %j %% %q %-H") if strftime_now is defined else "no clock" }}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{time.Time{}, "no clock"},
		{time.Date(2026, 2, 3, 0, 5, 6, 0, time.UTC), "03 Feb 2026 3 Tuesday 00:05:06 034 % %q 0"},
	} {
		if got, err := tmpl.Render(json.RawMessage("[]"), chat.Options{Now: c.now}); err != nil || got != c.want {
			t.Errorf("Render at %v = %q, %v, want %q", c.now, got, err, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{"a\nb\n{{ raise_exception('roles must alternate') }}", "chat: line 3: the template refuses: roles must alternate"},
		{"a\n{% if x %}", `chat: line 2: expected "endif" before the end of the template`},
		{"\n\n{{ 'x }}", "chat: line 3: the string is not closed"},
		{"{{ x.y }}", `chat: line 1: "x" is undefined`},
		{"a\n\n{{ 1 | nope }}", `chat: line 3: no filter named "nope"`},
		{"{% raw %}x", "chat: line 1: raw is not closed"},
		{"{% raw %}x{% endraw", "chat: line 1: endraw is not closed"},
		{"{# x", "chat: line 1: the comment is not closed"},
		{"{{ 1 ! 2 }}", `chat: line 1: unexpected "!"`},
		{"{{ a[1:2:3:4] }}", "chat: line 1: a slice has three parts at most"},
		{"{{ a[] }}", "chat: line 1: a subscript without an index"},
		{"{% for x in y %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "chat: line 1: break outside of a loop"},
	} {
		tmpl, err := chat.Parse(c.template)
		if err == nil {
			_, err = tmpl.Render(json.RawMessage("[]"), chat.Options{})
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.template, err, c.want)
		}
	}
}

// TestLimits gives templates that would run, grow or nest without end.
func TestLimits(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{`{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`, "nested more than 100 deep"},
		{`{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}`, "more than 2000000 steps"},
		{`{{ range(1000000) }}`, "range too big"},
		{`{{ range(-9223372036854775807, 9223372036854775807) }}`, "range too big"},
		{`{% set ns = namespace(s="x") %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}`, "longer than 16777216 bytes"},
		{`{% set ns = namespace(s=["x"]) %}{% for a in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`, "more than 1048576 items"},
		{`{% set ns = namespace(s=["x"]) %}{% for a in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}`, "more than 2000000 steps"},
		{`{% set ns = namespace(s=["x"]) %}{% for a in range(999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}`, "nested more than 100 deep"},
		{`{% set ns = namespace(s=["x"]) %}{% for a in range(999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s | tojson }}`, "nested more than 100 deep"},
		{`{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}`, "nested more than 100 deep"},
		{`{% set ns = namespace(a=[1], b=[1]) %}{% for a in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}`, "more than 2000000 steps"},
		{`{% set s = "x" * 16000000 %}{% for a in range(99999) %}{% if "y" in s %}{% endif %}{% endfor %}`, "too much work"},
		{`{{ "x" * 99999999999 }}`, "longer than 16777216 bytes"},
		{`{{ "x" | replace("", "y" * 16000000) | replace("", "y" * 16000000) }}`, "longer than 16777216 bytes"},
		{`{{ [1] * 99999999999 }}`, "more than 1048576 items"},
		{`{{ 1 ** 99999999999 }}{{ 2 ** 64 }}`, "does not fit 64 bits"},
		{`{{ 9223372036854775807 + 1 }}`, "does not fit 64 bits"},
		{`{{ [1] | batch(0) }}`, "batch: want a size of 1 or more"},
		{`{{ 3 is divisibleby 0 }}`, "division by zero"},
		{`{{ [] | tojson(indent=9999999) }}`, "wider than 64"},
		{`{{ "%999999999d" % 3 }}`, "too wide"},
		{"{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}", "nested more than 100 deep"},
		{"{{ " + strings.Repeat("not ", 5000) + "1 }}", "nested more than 100 deep"},
		{"{{ " + strings.Repeat("-", 5000) + "1 }}", "nested more than 100 deep"},
		{strings.Repeat("{% if 1 %}", 5000), "nested more than 100 deep"},
		{strings.Repeat("x", 1<<20+1), "template has 1048577 bytes"},
	} {
		tmpl, err := chat.Parse(c.template)
		if err == nil {
			_, err = tmpl.Render(json.RawMessage("[]"), chat.Options{})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: %v, want an error with %q", c.template, err, c.want)
		}
	}
}

func TestInputErrors(t *testing.T) {
	tmpl, err := chat.Parse("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ messages, variables, want string }{
		{"[", "", "chat: messages: offset"},
		{"[] 1", "", "text after the value"},
		{strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "", "nested more than 100 deep"},
		{"[]", "[1]", "want a JSON object"},
		{"[]", "{", "chat: variables: offset"},
		{"[1e999]", "", "chat: messages: offset"},
	} {
		_, err := tmpl.Render(json.RawMessage(c.messages), chat.Options{Variables: json.RawMessage(c.variables)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Render(%.40q, %.40q) = %v, want an error with %q", c.messages, c.variables, err, c.want)
		}
	}
}

func FuzzRender(f *testing.F) {
	var v vectors
	readJSON(f, "testdata/vectors.json", &v)
	for _, c := range v.Cases {
		f.Add(*c[0])
	}
	messages := v.split(f)
	f.Fuzz(func(t *testing.T, src string) {
		tmpl, err := chat.Parse(src)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "chat: ") {
				t.Errorf("Parse: %v, want the package's name in front", err)
			}
			return
		}
		a, err := tmpl.Render(messages, chat.Options{Variables: v.Variables})
		b, again := tmpl.Render(messages, chat.Options{Variables: v.Variables})
		if a != b || (err == nil) != (again == nil) {
			t.Errorf("two renders differ: %q, %v and %q, %v", a, err, b, again)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	var doc struct {
		Template  string          `json:"template"`
		Variables json.RawMessage `json:"variables"`
	}
	readJSON(b, "testdata/families/llama.json", &doc)
	tmpl, err := chat.Parse(doc.Template)
	if err != nil {
		b.Fatal(err)
	}
	messages, err := json.Marshal([]map[string]string{{"role": "system", "content": "x"}, {"role": "user", "content": strings.Repeat("text ", 1000)}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(messages)))
	for b.Loop() {
		if _, err := tmpl.Render(messages, chat.Options{Variables: doc.Variables}); err != nil {
			b.Fatal(err)
		}
	}
}

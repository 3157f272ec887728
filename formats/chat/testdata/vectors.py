"""Writes vectors.json: small templates, what they are given, and what Jinja
makes of them, set up as transformers sets it up. An output of null means that
Jinja refuses. families/*.json hold whole templates with what transformers
itself rendered.

    python vectors.py > vectors.json
"""

import json

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENV = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
ENV.filters["tojson"] = tojson
ENV.globals["raise_exception"] = raise_exception

VARS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi <b>&\n"},
        {"role": "assistant", "content": "Hello 'you' \"there\" é😀", "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": [1.5, None, True], "c": {"z": "x", "y": {}}}}}]},
        {"role": "tool", "content": None, "name": "f"},
    ],
    "add_generation_prompt": True,
    "n": 7, "x": -3, "pi": 3.25, "big": 1e20, "small": 1e-7, "yes": True, "no": False, "nothing": None, "empty": "", "none_list": [],
    "s": "Hello, World", "words": ["b", "A", "c", "a", "B"], "nums": [3, 1, 2, 3], "d": {"b": 2, "A": 1, "c": 3},
    "rows": [{"k": "x", "v": 2}, {"k": "y", "v": 1}, {"k": "x", "v": 3}, {"v": 9}], "lines": "one\n  two\n\nthree", "uni": "ÀéÎ ñ ǆ 漢",
}

TEMPLATES = r"""
{{ n }} {{ x }} {{ pi }} {{ big }} {{ small }} {{ yes }} {{ nothing }} {{ words }} {{ d }} {{ (1, 2) }} {{ (1,) }} {{ () }}
{{ n + 1 }} {{ n - 10 }} {{ n * 2 }} {{ n / 2 }} {{ n // 2 }} {{ x // 2 }} {{ n % 3 }} {{ x % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -n }} {{ +n }} {{ -2 ** 2 }}
{{ 1.0 }} {{ 1e3 }} {{ 0.1 + 0.2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1_000 }} {{ 6 / 3 }} {{ 10 ** 15 * 1.0 }} {{ 1e16 }}
{{ 1 / 0 }}
{{ n // 0 }}
{{ "a" ~ 1 ~ none ~ true ~ missing }} {{ "ab" * 3 }} {{ 2 * "xy" }} {{ [1] * 2 + [3] }} {{ "a" + "b" "c" }}
{{ "a" + 1 }}
{{ missing }}|{{ missing.x }}
{{ d.missing }}|{{ d["missing"] is defined }}|{{ messages[9] is undefined }}
{{ d.missing.deeper }}
{{ missing + 1 }}
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[:-6] }} {{ s[::-1] }} {{ s[::2] }} {{ words[1:] }} {{ words[-2:] }} {{ (1,2,3)[1:] }} {{ s[20:] }} {{ words[::-2] }}
{{ s.x is defined }} {{ s["upper"]() }} {{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get("A") }} {{ d.get("q", 5) }} {{ d.get("q") }}
{{ yes and n }} {{ no or "x" }} {{ not yes }} {{ no and 1/0 }} {{ none or false }} {{ not n == 7 }} {{ not missing }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ "a" < "b" }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ true == 1 }} {{ "1" == 1 }} {{ none == none }} {{ [1] == [1] }} {{ [1] == (1,) }} {{ {"a": 1} == {"a": 1} }}
{{ 1 < "a" }}
{{ "ell" in s }} {{ "z" not in s }} {{ 3 in nums }} {{ "A" in d }} {{ "role" in messages[0] }} {{ not "x" in s }} {{ "a" in words and 5 not in nums }}
{{ 1 in "a1" }}
{{ "y" if yes else "n" }} {{ "y" if no }} {{ "a" if no else "b" if no else "c" }} {{ ("x" if yes) ~ "y" }}
{{ [1, "a", none, [2.0], {"k": "v'"}] }} {{ ['it\'s'] }} {{ ["a\nb\t\\"] }} {{ ["\x41\u00e9\U0001F600"] }} {{ "\q" }}
{{ s | upper }} {{ s | lower }} {{ "hELLO wORLD" | capitalize }} {{ "hello big-world's" | title }} {{ "  x " | trim }}| {{ "xxaxx" | trim("x") }} {{ s | length }} {{ uni | upper }} {{ uni | length }}
{{ words | first }} {{ words | last }} {{ none_list | first }} {{ words | join }} {{ words | join("-") }} {{ rows | join(",", attribute="v") }} {{ nums | join(", ") }} {{ s | first }} {{ s | list | length }}
{{ nothing | default("d") }} {{ missing | default("d") }} {{ empty | default("d", true) }} {{ missing | d }} {{ nothing | default("d", boolean=true) }}
{{ nums | sort }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ words | sort(reverse=true) }} {{ rows | sort(attribute="v") | map(attribute="v") | list }} {{ nums | unique | list }} {{ words | unique | list }}
{{ d | dictsort }} {{ d | dictsort(true) }} {{ d | dictsort(by="value") }} {{ d | dictsort(reverse=true) }} {{ d | items | list }} {{ missing | items | list }}
{{ rows | map(attribute="k") | list }} {{ rows | map(attribute="k", default="-") | list }} {{ words | map("upper") | list }} {{ nums | map("string") | join("+") }} {{ words | map("replace", "a", "z") | list }}
{{ nums | select("odd") | list }} {{ nums | reject("equalto", 3) | list }} {{ rows | selectattr("k") | list | length }} {{ rows | selectattr("k", "equalto", "x") | map(attribute="v") | list }} {{ rows | rejectattr("k", "defined") | list }} {{ nums | select(">", 1) | list }} {{ [0, 1, "", "a"] | select | list }}
{{ nums | sum }} {{ rows | sum(attribute="v") }} {{ nums | max }} {{ nums | min }} {{ words | max }} {{ none_list | max }}| {{ x | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 3.14159 | round(2) }} {{ 2.1 | round(method="ceil") }} {{ "42" | int }} {{ "4.7" | int }} {{ "z" | int }} {{ "z" | int(5) }} {{ 3.9 | int }} {{ "2.5" | float }} {{ "q" | float }}
{{ s | replace("l", "L") }} {{ s | replace("l", "L", 1) }} {{ words | reverse | list }} {{ s | reverse }} {{ s | string }} {{ 5 | string ~ 6 }} {{ "a b  c" | wordcount }}
{{ "<a href='x'>&\"" | escape }} {{ "<b>" | e }} {{ "<b>" | safe }} {{ ("<b>" | safe) ~ "<i>" }} {{ ("<b>" | escape) | length }} {{ "<" | e | e }}
{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(width=3, blank=true) }}|{{ lines | indent("> ") }}
{{ "%s is %d and %.2f %5s|%-5s|%05d %x %r %%" | format("a", 3, 2.5, "b", "c", 42, 255, "q") }} {{ "%s-%s" % (1, 2) }} {{ "%d" % 5 }}
{{ "%s %s" | format(1) }}
{{ nums | batch(3) | list }} {{ nums | batch(3, "-") | list }} {% for k, v in rows | selectattr("k") | groupby("k") %}{{ k }}={{ v | length }};{% endfor %}
{{ messages[2].tool_calls[0].function.arguments | tojson }}
{{ messages[2] | tojson(indent=2) }}
{{ d | tojson(sort_keys=true) }} {{ uni | tojson }} {{ "é😀\u0001\"\\/" | tojson(ensure_ascii=true) }} {{ [1.0, 1e20, none, true] | tojson }} {{ d | tojson(separators=(",", ":")) }} {{ [] | tojson(indent=4) }} {{ {1: 2} | tojson }} {{ "<&'>" | tojson }}
{{ missing | tojson }}
{{ s.startswith("Hell") }} {{ s.endswith(("x", "ld")) }} {{ s.find("o") }} {{ s.rfind("o") }} {{ s.find("zz") }} {{ s.split(", ") }} {{ "a b  c".split() }} {{ "a,b,c".split(",", 1) }} {{ "a,b,c".rsplit(",", 1) }} {{ s.replace("l", "", 2) }} {{ s.count("l") }} {{ " x ".strip() }}| {{ "xxaxx".lstrip("x") }} {{ "xxaxx".rstrip("x") }} {{ "-".join(words) }} {{ "ab".upper().lower() }} {{ "abc".removeprefix("a") }} {{ "abc".removesuffix("c") }} {{ "hello world".title() }} {{ "a\nb\r\nc\n".splitlines() }}
{{ "12".isdigit() }} {{ "a1".isalnum() }} {{ "".isdigit() }} {{ "ab".isalpha() }} {{ " ".isspace() }} {{ "AB".isupper() }} {{ "aB".islower() }} {{ "{} and {}".format(1, "x") }} {{ nums.index(2) }} {{ nums.count(3) }} {{ "  a b c".split(none, 1) }}
{{ words.append("x") }}
{{ d.update({"x": 1}) }}
{{ nums.nope }}|{{ s.nope is defined }}
{{ nums.nope() }}
{% for w in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("o", "e") }} {% endfor %}
{% for w in words if w != "A" %}{{ loop.index }}{{ w }}{% else %}none{% endfor %}{% for w in [] %}x{% else %}empty{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in "aé" %}[{{ c }}]{% endfor %}
{% for a, b in [1, 2] %}{% endfor %}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(2, 10, 3) | list }} {{ range(5, 0, -2) | list }}
{% for i in range(3) %}{% for j in range(i) %}{{ i }}{{ j }}{{ loop.depth }} {% endfor %}{% endfor %}{{ i }}
{% for i in [1, 1, 2] %}{% if loop.changed(i) %}{{ i }}{% endif %}{% endfor %}
{% for item in [[1, [2, [3]]]] recursive %}{% if item is iterable %}({{ loop(item) }}){% else %}{{ item }}@{{ loop.depth }}{% endif %}{% endfor %}
{{ range(100002) | length }}
{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{% endfor %}{{ a }} {% set ns = namespace(a=1, b="x") %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }} {% set a, b = 5, 6 %}{{ a }}{{ b }}
{% set c %}  text {{ n }} {% endset %}[{{ c }}] {% set u | upper | trim %}  up {% endset %}[{{ u }}] {% filter upper %}abc{{ n }}{% endfilter %}
{% set d.x = 1 %}
{% if no %}a{% elif n > 5 %}b{% else %}c{% endif %}{% if none_list %}x{% elif none %}y{% endif %}.
{% macro m(a, b="B", c=none) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m(b=4, a=5) }}{{ m() }}{{ m("<") | length }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k=4) }}
{% macro m(x) %}[{{ caller(x) }}]{% endmacro %}{% call(y) m(3) %}got {{ y }}{% endcall %}{% macro fact(n) %}{% if n < 2 %}1{% else %}{{ n * (fact(n - 1) | int) }}{% endif %}{% endmacro %} {{ fact(6) }}
{% with a=1, b=a %}{{ a }}{{ b }}{% endwith %}{{ a }} {% with %}{% set z = 9 %}{{ z }}{% endwith %}{{ z }}
{% generation %}gen {{ n }}{% endgeneration %} {% for i in [1, 2, 3] %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}
{% raw %}{{ not }} {% if %}{% endraw %} {# comment {{ x }} #}after {#- trim -#}   end
{{ raise_exception("no " ~ n) }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ s is string }} {{ d is mapping }} {{ nums is sequence }} {{ nums is iterable }} {{ 5 is iterable }} {{ pi is float }} {{ n is integer }} {{ true is number }} {{ true is boolean }} {{ nothing is none }} {{ nothing is not none }} {{ s is lower }} {{ "AB" is upper }} {{ n is eq 7 }} {{ n is gt 3 and n is lt 9 }} {{ n is in [7] }} {{ yes is true }} {{ 1 is true }} {{ no is false }} {{ raise_exception is callable }} {{ none is sameas none }} {{ "upper" is filter }} {{ missing is defined or n is defined }}
{{ n is nope }}
{{ n | nope }}
{% if no %}{{ n | nope }}{% endif %}ok
{% nope %}
{% if yes %}
{% endfor %}
{{ (1 }}
{{ 1 2 }}
{{ }}
{{ "open }}
{% for x in %}
{% break %}
{{ {"a": 1, "b": [1, 2]}["b"][1] }} {{ {"a": {"b": 1}}.a.b }} {{ [[1, 2], [3]][0][1] }} {{ dict(a=1, b=2) }} {{ dict([("x", 1)]) }} {{ dict({"q": 1}, r=2) }}
{{ [1, 2, 3,] }} {{ {"a": 1,} }} {{ (1, 2,) }} {{ "a" if 1 else "b", 2 }}
{% set j = joiner(", ") %}{% for w in words %}{{ j() }}{{ w }}{% endfor %} {% set cy = cycler("a", "b") %}{{ cy.next() }}{{ cy.next() }}{{ cy.next() }}
{{ messages | length }} {{ messages[0].content }} {{ messages[0]["content"] }} {{ messages[-1].content }} {{ messages[1].content | trim }} {{ (messages | last).role }} {{ messages | map(attribute="role") | join(",") }}
{{ messages[3].content is none }} {{ messages[3].content is string }} {{ messages[2].tool_calls is defined and messages[2].tool_calls }} {{ messages[0].get("x", "y") }}
{{ messages[2].content | tojson }} {{ "é" | length }} {{ "a\u0301" | length }} {{ "😀"[0] }}
{{ x | abs | string | length }} {{ (n + 1) | string ~ "!" }} {{ -x | abs }} {{ n * 2 | string | int }} {{ "a" ~ "b" | upper }} {{ 2 + 3 | float }}
{{ [3, 1, 2] | sort | first }} {{ ("a", "b") | join }} {{ "abc" | batch(2) | map("join") | list }} {{ {"a": 1} | length }} {{ "a-b_c" | replace("-", "") | upper }}
{{ loop }}
{{ caller() }}
{{ 5() }}
{% set x = 5 %}{{ x }}{% set x = x + 1 %}{{ x }} {% set q = [1, 2] %}{% set q = q + [3] %}{{ q }}
{{ "a" in ["a", "b"] and "c" not in ["a"] or false }} {{ 1 if "a" == "a" and not false else 2 }} {{ (not true) | string }} {{ 3 not in [1] }}
{{ "x" * 0 }}|{{ [1] * 0 }}|{{ "x" * -1 }}|{{ none ~ "" }}|{{ 1 ~ 2 + 3 }}|{{ true + true }}
{{ nums[1.5] }}|{{ d[["a"]] }}|{{ s[1.0] }}
""".strip("\n").split("\n")

# Templates of several lines: what blocks do to the white space around them.
TEMPLATES += [
    "a\n  {% if yes %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%- if yes -%}\n  b\n  {%- endif -%}\nc\n\n",
    "{% for i in [1, 2] %}\n  - {{ i }}\n{% endfor %}\nend",
    "  {{ n }}  \n  {{- n -}}  \n  x",
    "x {% if yes %}\n\n y{% endif %} \n z",
    "a\n\t{%+ if yes %}\nb{% endif +%}\nc",
    "{# one #}\n{# two #}  \n  {# three #}\nx\n  {#- four -#}\n y",
    "a  {% raw %}\n  x {{ y }}\n  {% endraw %}\nb",
    "{% raw -%}\n x\n{%- endraw %}\n y",
    "{% if yes %}\n  {% raw %} {{ a }}\n {%+ endraw %}\n{% endif %}",
    "a\r\nb\r\n{% if yes %}\r\nc\r\n{% endif %}\r\n",
    "{% set x = [\n  1,\n  2\n] %}\n{{ x }}\n{{\n n\n}}",
    "{% if yes %}{% if yes %}\n  in\n  {% endif %}\n{% endif %}\nout",
    "\n\n{% if yes %}x{% endif %}\n\n",
    "{{ 'a' }}\n{{ 'b' }}\n",
    "{% macro m() %}\n  body\n{% endmacro %}\n[{{ m() }}]",
    "{%- for m in messages %}\n{{- '<' + m.role + '>' }}\n{%- if m.content %}{{ m.content }}{% endif %}\n{%- endfor %}\n",
]


def case(template):
    try:
        return [template, ENV.from_string(template).render(**VARS)]
    except Exception:
        return [template, None]


print(json.dumps({"variables": VARS, "cases": [case(t) for t in TEMPLATES]}, ensure_ascii=False, indent=0))

"""Writes random expressions and what CPython makes of them.

python3 expressions.py > expressions.txt: a line for each, the expression, a
tab, and its repr or the name of the exception.
"""
import random
import warnings

warnings.simplefilter("ignore")
R = random.Random(20261126)

def pick(*options):
    return R.choice(options)()

def integer():
    return str(R.choice([0, 1, 2, 3, 4, 5, 7, 10, 27, 28, -1, -2, -7, 100, 255, 1000]))

def real():
    return R.choice(["0.0", "0.5", "1.0", "2.5", "-1.5", "3.14159", "1e3", "1e-7", "1e22", "0.1", "2.675", "-0.25"])

def boolean():
    return R.choice(["True", "False"])

def text():
    return R.choice(["''", "'a'", "'BF16'", "'A_BF16_W_INT8'", "'PRE'", "'a,b,,c'", "' x '", "'Hello World'", "'12'", "'it\\'s'"])

def plain():
    return R.choice(["'a'", "'BF16'", "' x '"])

def lst(d):
    return "[" + ", ".join(expr(d - 1) for _ in range(R.randrange(4))) + "]"

def tup(d):
    items = [expr(d - 1) for _ in range(R.randrange(1, 4))]
    return "(" + ", ".join(items) + ",)"

def dct(d):
    return "{" + ", ".join(f"{R.choice([integer, text])()}: {expr(d - 1)}" for _ in range(R.randrange(3))) + "}"

def number(d):
    if d <= 0 or R.random() < 0.3:
        return pick(integer, integer, real, boolean)
    return R.choice([
        lambda: f"({number(d - 1)} {R.choice(['+', '-', '*', '//', '%', '/'])} {number(d - 1)})",
        lambda: f"({integer()} {R.choice(['&', '|', '^', '<<', '>>'])} {R.choice(['1', '2', '3', 'True'])})",
        lambda: f"({number(d - 1)} ** {R.choice(['0', '1', '2', '3', '-1', '0.5'])})",
        lambda: f"(-{number(d - 1)})",
        lambda: f"abs({number(d - 1)})",
        lambda: f"round({number(d - 1)}, {R.choice('0123')})",
        lambda: f"round({real()})",
        lambda: f"int({number(d - 1)})",
        lambda: f"len({R.choice([lambda: lst(d), text, lambda: tup(d)])()})",
        lambda: f"sum([{number(d - 1)}, {number(d - 1)}])",
        lambda: f"{R.choice(['min', 'max'])}({number(d - 1)}, {number(d - 1)})",
        lambda: f"({number(d - 1)} if {cond(d - 1)} else {number(d - 1)})",
        lambda: f"[{number(d - 1)}, {number(d - 1)}][{boolean()}]",
        lambda: f"{{0: {number(d - 1)}, 1: {number(d - 1)}}}[{boolean()}]",
        lambda: f"divmod({number(d - 1)}, {number(d - 1)})[{R.choice('01')}]",
        lambda: f"sum(x {R.choice(['<', '>', '=='])} {integer()} for x in range({R.choice('0369')}))",
    ])()

def cond(d):
    if d <= 0 or R.random() < 0.15:
        return pick(boolean, integer, text)
    return R.choice([
        lambda: f"{number(d - 1)} {R.choice(['==', '!=', '<', '<=', '>', '>='])} {number(d - 1)}",
        lambda: f"{number(d - 1)} {R.choice(['<', '<=', '=='])} {number(d - 1)} {R.choice(['<', '<=', '!='])} {number(d - 1)}",
        lambda: f"{string(d - 1)} {R.choice(['==', '!=', '<', 'in', 'not in'])} {string(d - 1)}",
        lambda: f"{expr(d - 1)} {R.choice(['in', 'not in'])} {R.choice([lambda: lst(d), lambda: tup(d), lambda: dct(d)])()}",
        lambda: f"({cond(d - 1)} {R.choice(['and', 'or'])} {cond(d - 1)})",
        lambda: f"(not {cond(d - 1)})",
        lambda: f"({expr(d - 1)} is {R.choice(['None', 'not None'])})",
        lambda: f"isinstance({expr(d - 1)}, {R.choice(['int', 'str', 'float', 'bool', '(int, float)', 'list', 'dict'])})",
        lambda: f"bool({expr(d - 1)})",
        lambda: f"{expr(d - 1)} {R.choice(['==', '!='])} {expr(d - 1)}",
        lambda: f"{R.choice(['any', 'all'])}(x > {integer()} for x in [{number(d - 1)}, {number(d - 1)}])",
        lambda: f"{string(d - 1)}.{R.choice(['startswith', 'endswith'])}({text()})",
    ])()

def string(d):
    if d <= 0 or R.random() < 0.2:
        return text()
    return R.choice([
        lambda: f"({string(d - 1)} + {string(d - 1)})",
        lambda: f"({string(d - 1)} * {R.choice(['0', '1', '2', 'True', '-1'])})",
        lambda: f"str({expr(d - 1)})",
        lambda: f"repr({expr(d - 1)})",
        lambda: f"{string(d - 1)}.{R.choice(['upper()', 'lower()', 'strip()', 'title()', 'capitalize()', 'zfill(4)', 'ljust(5)', 'rjust(5, chr(46))', 'center(6)'])}",
        lambda: f"{string(d - 1)}.replace({text()}, {text()})",
        lambda: f"','.join([{string(d - 1)}, {string(d - 1)}])",
        lambda: f"{string(d - 1)}[{R.choice(['0', '-1', '1:', ':2', '::-1', '1:3', '::2', '10', '-3:'])}]",
        lambda: f"format({number(d - 1)}, {R.choice(FORMATS)!r})",
        lambda: f"'{{:{R.choice(FORMATS)}}}'.format({number(d - 1)})",
        lambda: f"'%{R.choice(['d', 's', '5d', '05d', '.2f', 'x', 'r', '-6s', '+d', 'g', '.3g', 'e'])}' % ({number(d - 1)},)",
        lambda: f'f"{{{number(0)}:{R.choice(FORMATS)}}}|{{{plain()}!r}}"',
    ])()

FORMATS = ["", "d", "5d", "05d", "+d", "x", "#x", "08b", ",", ",d", "_d", ".2f", "8.3f", "e", ".3e", "g", ".3g", ".1%", ">8", "<8", "^8", "*^9", "=+6d", ".4", "10.3", " d", "<05d", "n", "G"]

def seq(d):
    return R.choice([
        lambda: f"sorted([{number(d - 1)}, {number(d - 1)}, {number(d - 1)}], reverse={boolean()})",
        lambda: f"[x * 2 for x in {lst(d)} if x]",
        lambda: f"list(range({R.choice('0358')}))[{R.choice(['::2', '1:', '-2:', '::-1', ':3'])}]",
        lambda: f"{lst(d)} + {lst(d)}",
        lambda: f"list(zip({lst(d)}, 'abc'))",
        lambda: f"list(enumerate({tup(d)}, {R.choice('01')}))",
        lambda: f"dict(a={expr(d - 1)}, **{{'b': {expr(d - 1)}}})",
        lambda: f"{{k: v for k, v in zip('ab', {tup(d)})}}",
        lambda: f"[*{lst(d)}, *{tup(d)}]",
        lambda: f"{{**{dct(d)}, **{dct(d)}}}",
        lambda: f"{text()}.split({text()})",
        lambda: f"{text()}.partition(',')",
        lambda: f"list(map(lambda x: {number(d - 1)}, {lst(d)}))",
        lambda: f"{dct(d)}.get({integer()}, {expr(d - 1)})",
        lambda: f"list({dct(d)}.items())",
        lambda: f"sorted({{*{lst(0)}, 3, 1}})",
        lambda: f"({expr(d - 1)} or {expr(d - 1)})",
        lambda: f"({expr(d - 1)} and {expr(d - 1)})",
        lambda: f"(lambda a, b={number(d - 1)}, *c: [a, b, c])({expr(d - 1)}, *{lst(d)})",
    ])()

def expr(d):
    if d <= 0:
        return pick(integer, real, boolean, text, lambda: "None")
    return R.choice([number, number, cond, string, seq, lst, tup, dct])(d)

seen = set()
while len(seen) < 4000:
    e = expr(R.choice([1, 2, 2, 3]))
    if e in seen or len(e) > 160:
        continue
    seen.add(e)
    try:
        r = repr(eval(e))
    except Exception as x:
        r = type(x).__name__
    if len(r) < 300 and "<" not in r:
        print(f"{e}\t{r}")

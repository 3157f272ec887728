"""Writes random programs and what CPython makes of them.

python3 programs.py > programs.jsonl: a line for each, its source and the repr
of its result or the name of the exception. Programs that run long are left out.
"""
import json
import random
import signal
import warnings

warnings.simplefilter("ignore")
R = random.Random(20261125)

def e(d=2):
    if d <= 0:
        return R.choice(["a", "b", "c", "1", "2", "0", "3", "len(xs)", "len(s)", "True"])
    return R.choice([
        lambda: f"({e(d - 1)} {R.choice(['+', '-', '*', '//', '%'])} {e(d - 1)})",
        lambda: f"({e(d - 1)} if {c(d - 1)} else {e(d - 1)})",
        lambda: f"sum([{e(d - 1)} for a in xs])",
        lambda: f"xs[{e(0)}]",
        lambda: f"d.get({e(0)}, {e(0)})",
        lambda: f"max({e(d - 1)}, {e(d - 1)})",
        lambda: f"(lambda a: {e(d - 1)})({e(0)})",
        lambda: f"helper({e(d - 1)}, k={e(0)})",
        lambda: e(0),
    ])()

def c(d=1):
    return R.choice([
        lambda: f"{e(0)} {R.choice(['<', '<=', '>', '==', '!='])} {e(0)}",
        lambda: f"{e(0)} < {e(0)} <= {e(0)}",
        lambda: f"{e(0)} in {R.choice(['xs', 'd', '[1, 2]', '(a, b)', 'range(3)'])}",
        lambda: f"not {e(0)}",
        lambda: f"({c(d - 1) if d > 0 else 'a'} {R.choice(['and', 'or'])} b)",
        lambda: "s",
        lambda: "xs",
        lambda: "a is None",
        lambda: "a is not True",
    ])()

LOOPS = ["range(4)", "list(xs)", "enumerate(list(xs))", "sorted(d)", "list(d.items())", "zip(list(xs), list(xs))", "[(1, 2), (3, 4)]"]

def statement(ind, d, loop):
    p = "    " * ind
    k = R.randrange(20)
    if d > 0 and k < 3:
        out = [f"{p}if {c()}:"] + block(ind + 1, d - 1, loop)
        if R.random() < .3:
            out += [f"{p}elif {c()}:"] + block(ind + 1, d - 1, loop)
        if R.random() < .5:
            out += [f"{p}else:"] + block(ind + 1, d - 1, loop)
        return out
    if d > 0 and k < 5:
        return [f"{p}for {R.choice(['a', 'b', 'a, b'])} in {R.choice(LOOPS)}:"] + block(ind + 1, d - 1, True)
    if d > 0 and k == 5:
        w = f"w{ind}"
        return [f"{p}{w} = 0", f"{p}while {w} < 4 and {c()}:", f"{p}    {w} += 1"] + block(ind + 1, d - 1, True)
    if loop and k == 6:
        return [f"{p}{R.choice(['break', 'continue'])}"]
    if d > 0 and k == 7:
        return [f"{p}def inner(z=a):", f"{p}    return [z, b, {e(1)}]", f"{p}xs.append(len(inner()))"]
    return [p + R.choice([
        lambda: f"{R.choice('abc')} = {e()}",
        lambda: f"{R.choice('abc')} {R.choice(['+=', '-=', '*=', '//=', '%='])} {e(1)}",
        lambda: f"xs.append({e(1)})",
        lambda: f"xs += [{e(0)}]",
        lambda: f"xs = xs + [{e(0)}]",
        lambda: f"d[{e(0)}] = {e(1)}",
        lambda: "d[a] = d.get(a, 0) + 1",
        lambda: "a, b = b, a",
        lambda: "d[a], b = b, a",
        lambda: f"a = b = {e(1)}",
        lambda: f"s += str({e(0)})",
        lambda: "s = f'{s}{a!r:>3}'",
        lambda: f"xs[{e(0)}] += {e(0)}",
        lambda: f"xs = [x for x in xs if x {R.choice(['<', '>'])} {e(0)}]",
        lambda: f"d = {{k: v for k, v in d.items() if {c(0)}}}",
        lambda: "xs = xs[::-1]",
        lambda: f"xs = xs[{e(0)}:]",
        lambda: "xs.sort()",
        lambda: "c = len(set(xs))",
        lambda: f"s = s[{R.choice(['1:', ':2', '::-1', '-1:'])}]",
        lambda: f"assert {c()}, 'no'" if R.random() < .2 else "pass",
        lambda: f"return [a, {e(0)}]" if R.random() < .15 else "pass",
        lambda: f"del d[{e(0)}]" if R.random() < .2 else "c = 1",
        lambda: "xs.pop()",
        lambda: "xs.insert(0, a)",
        lambda: "xs.extend(xs[:2])",
        lambda: "b = xs.index(a) if a in xs else b",
        lambda: "c = xs.count(1)",
    ])()]

def block(ind, d, loop):
    out = []
    for _ in range(R.randrange(1, 4)):
        out += statement(ind, d, loop)
    return out

HEAD = """def helper(a, b=2, *rest, k=1, **kw):
    if a > 3: return k
    return a * b + k

def f():
    a, b, c = 1, 2, 3
    xs = [3, 1, 2]
    d = {1: 2, 'k': 3}
    s = 'ab'
"""

class Slow(BaseException):
    pass

def slow(*_):
    raise Slow

signal.signal(signal.SIGALRM, slow)
n = 0
while n < 250:
    source = HEAD + "\n".join(block(1, 3, False) + block(1, 3, False) + block(1, 2, False)) + "\n    return repr([a, b, c, xs, d, s])\n"
    names = {}
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        exec(source, names)
        result = repr(names["f"]())
    except (Slow, SyntaxError):
        continue
    except Exception as x:
        result = type(x).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if len(result) < 500 and (not result.endswith("Error") or n % 4 == 0):
        print(json.dumps({"source": source, "result": result}))
        n += 1

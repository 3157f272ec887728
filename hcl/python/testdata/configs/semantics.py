# What scripts can rely on without thinking of it.
late = [lambda: k for k in range(3)]
assert [f() for f in late] == [2, 2, 2]
fixed = [lambda k=k: k for k in range(3)]
assert [f() for f in fixed] == [0, 1, 2]

fns = []
for n in range(3):
    def g():
        return n
    fns.append(g)
assert [f() for f in fns] == [2, 2, 2] and n == 2

def counter():
    state = {"n": 0}
    def tick(by=1):
        state["n"] += by
        return state["n"]
    return tick
tick = counter()
assert (tick(), tick(5), tick()) == (1, 6, 7)

calls = []
def noisy(x):
    calls.append(x)
    return x
assert noisy(1) < noisy(2) < noisy(3) and not noisy(3) < noisy(1) < noisy(9)
assert calls == [1, 2, 3, 3, 1]
assert (noisy(0) or noisy(4)) == 4 and calls[-2:] == [0, 4]

a = b = []
a.append(1)
assert b == [1] and a is not None
x, (y, z) = 1, (2, 3)
x, y = y, x
assert (x, y, z) == (2, 1, 3)
m = [[0] * 2] * 2
m[0][1] = 5
assert m == [[0, 5], [0, 5]]
d = {"k": [1]}
d["k"] += [2]
d["n"] = d.get("n", 0) + 1
d["n"] *= 4
d.update({"z": 1}, y=2)
assert d == {"k": [1, 2], "n": 4, "z": 1, "y": 2} and list(d)[:2] == ["k", "n"]
assert d.pop("z") == 1 and d.pop("z", None) is None and "z" not in d
del d["k"]
assert len(d) == 2 and sorted(d.items()) == [("n", 4), ("y", 2)]

def kinds(a, /, b, *args, c=3, **kw):
    return a, b, args, c, sorted(kw)
assert kinds(1, 2, 3, 4, c=5, d=6) == (1, 2, (3, 4), 5, ["d"])
assert kinds(*[1, 2], **{"c": 1, "e": 2}) == (1, 2, (), 1, ["e"])
assert kinds(1, b=2) == (1, 2, (), 3, [])

total = 0
for i in range(10):
    if i == 3: continue
    if i == 7: break
    total += i
assert total == 0 + 1 + 2 + 4 + 5 + 6 and i == 7
while total:
    total -= 6
assert not total

nested = {p: {g: [i for i in range(4) if (i + g) % 2] for g in (0, 1)} for p in ("PRE", "POST")}
assert nested["PRE"][1] == [0, 2] and nested["POST"][0] == [1, 3]
text = "abcdef"
assert text[1:-1:2] == "bd" and text[-2:] == "ef" and text[::-1][0] == "f" and [c for c in text if c > "d"] == ["e", "f"]
assert "%s/%s" % ("a", 1) == "a/1" and "{0}-{name:>3}".format(1, name="x") == "1-  x"
assert not [] and not {} and not "" and not 0 and not None and not 0.0 and [0] and " "
assert 7 // -2 == -4 and -7 % 3 == 2 and 7 / 2 == 3.5 and 2 ** 3 ** 2 == 512 and -2 ** 2 == -4
assert 1 == 1.0 == True and 0 == False and [1, 2] == [True, 2.0] and {1: "a"}[True] == "a"
assert max("b", "a") == "b" and min([3, 1, 2], key=lambda v: -v) == 3 and sum([[1], [2]], []) == [1, 2]
assert list(zip(*[(1, 2), (3, 4)])) == [(1, 3), (2, 4)] and dict([("a", 1)]) == {"a": 1}
sentinel = object if False else None
Outer = "global"
def shadow(Outer):
    def inner():
        return Outer
    return inner()
assert shadow("local") == "local" and Outer == "global"
def early_return(v):
    if v:
        return "yes"
    elif v is None:
        return
    return "no"
assert (early_return(1), early_return(None), early_return(0)) == ("yes", None, "no")
if not (n == 3): n = "set"; n += "!"
assert n == "set!"

def get_layer_configuration(model_properties, layer):
    return {"precision": "BF16", "compile": bool(layer["index"] % 2)}

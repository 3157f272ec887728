SPEC = """
0-3:BF16, 4-20:A_BF16_W_INT8
21-27 : A_BF16_W_INT4
"""
def parse(spec):
    out = {}
    for item in spec.strip().replace("\n", ",").split(","):
        rng, precision = [s.strip() for s in item.strip().split(":")]
        lo, _, hi = rng.partition("-")
        for i in range(int(lo), int(hi) + 1):
            out[i] = precision.upper()
    return out
TABLE = parse(SPEC)
assert "abc".startswith(("x", "a")) and "7".zfill(3) == "007" and "a,b".split(",", 1) == ["a", "b"] and "ab".center(6, "*") == "**ab**"
def get_layer_configuration(model_properties, layer):
    return {"precision": TABLE[layer["index"]]}

KEEP = {0, 1, 2} | {25, 26} | set(range(10, 12))
DROP = frozenset(range(3, 9, 2))
KEEP = KEEP - DROP
KEEP.add(27)
STRIDE = list(range(28))[::4]
assert STRIDE == [0, 4, 8, 12, 16, 20, 24] and STRIDE[-1] == 24 and STRIDE[1:3] == [4, 8] and "abc"[::-1] == "cba"
def get_layer_configuration(model_properties, layer):
    if layer["index"] in KEEP: return {"precision": "BF16"}
    elif layer["index"] in DROP: return {"compile": False}
    elif layer["index"] in STRIDE: return {"precision": "A_BF16_W_INT8"}
    return {"precision": "A_BF16_W_INT4"}

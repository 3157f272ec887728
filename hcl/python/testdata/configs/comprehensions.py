N = 28
squares = {i * i for i in range(10) if i * i < N}
pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
table = {f"{part}.{i}": ("BF16" if i in squares else "A_BF16_W_INT8") for part in ["PRE", "POST"] for i in range(N)}
flat = [x for pair in pairs for x in pair]
assert sum(flat) == 12 and len(pairs) == 6 and max(squares) == 25
assert any(x == 2 for x in flat) and all(x < 3 for x in flat)
assert sum(1 for x in flat if x) == 8
assert ", ".join(str(x) for x in sorted(squares)) == "0, 1, 4, 9, 16, 25"

def get_layer_configuration(model_properties, layer):
    return {"precision": table.get(f"{layer['part']}.{layer['index']}", "A_BF16_W_INT4")}

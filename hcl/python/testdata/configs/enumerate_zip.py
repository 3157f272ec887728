ORDER = ["BF16", "A_BF16_W_INT8", "A_BF16_W_INT4"]
SIZES = (4, 10, 14)
SCHEDULE = []
for k, (name, size) in enumerate(zip(ORDER, SIZES), start=1):
    SCHEDULE.extend([name] * size)
    assert k >= 1
first, last = SCHEDULE[0], SCHEDULE[-1]
a = b = first
a, b = b, last
[c, d] = a, b
POSITIONS = dict(zip(ORDER, range(len(ORDER))))
assert (c, d) == ("BF16", "A_BF16_W_INT4") and sorted(POSITIONS, key=lambda p: -POSITIONS[p])[0] == d
assert list(reversed(ORDER))[0] == d and max(ORDER, key=len) == "A_BF16_W_INT8" and list(map(len, ORDER)) == [4, 13, 13]
def get_layer_configuration(model_properties, layer):
    return {"precision": SCHEDULE[layer["index"]] if layer["part"] != "VISION" else first}

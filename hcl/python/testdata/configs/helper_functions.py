import math

def _fraction(i, n):
    return i / max(1, n - 1)

def _is_sensitive(i: int, n: int, *, head: float = 0.1, tail: float = 0.1) -> bool:
    f = _fraction(i, n)
    return f < head or f > 1 - tail

def pick(part, group, i, n):
    if part == "VISION": return "BF16"
    if _is_sensitive(i, n, tail=0.15): return "A_BF16_W_INT8"
    return "A_BF16_W_INT8" if group else "A_BF16_W_INT4"

def get_layer_configuration(model_properties, layer):
    n = model_properties["num_hidden_layers"]
    return dict(precision=pick(layer["part"], layer["is_group"], layer["index"], n), compile=True)

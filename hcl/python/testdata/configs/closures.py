from functools import lru_cache, partial
import functools
def make_rule(low, high, precision):
    def rule(index):
        if low <= index < high:
            return precision
        return None
    return rule
RULES = [make_rule(0, 2, "BF16"), make_rule(2, 9, "A_BF16_W_INT8"), make_rule(5, 99, "A_BF16_W_INT4")]
@lru_cache(maxsize=None)
def lookup(index):
    for rule in RULES:
        precision = rule(index)
        if precision:
            return precision
@functools.cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
is_fib = partial(lambda table, i: i in table, [fib(k) for k in range(10)])
def get_layer_configuration(model_properties, layer):
    return {"precision": "BF16" if is_fib(layer["index"]) and layer["part"] == "POST" else lookup(layer["index"])}

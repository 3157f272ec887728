def largest_power(n):
    p = 1
    while p * 2 <= n:
        p *= 2
    return p
def get_layer_configuration(model_properties, layer):
    n = largest_power(model_properties["num_hidden_layers"])
    x = layer["index"]
    x //= 2; x -= 1; x **= 2; x %= 7; x <<= 1; x |= 1; x ^= 2; x &= 15; x >>= 1
    return {"precision": ["BF16", "A_BF16_W_INT8", "A_BF16_W_INT4"][x % 3] if layer["index"] < n else "BF16"}

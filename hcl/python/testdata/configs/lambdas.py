RULES = [
    (lambda p, g, i, n: p == "CACHE" and i >= n - 2, {"compile": False}),
    (lambda p, g, i, n: i in (0, n - 1), {"precision": "BF16"}),
    (lambda p, g, i, n: g, {"precision": "A_BF16_W_INT8"}),
    (lambda *_: True, {"precision": "A_BF16_W_INT4"}),
]

def get_layer_configuration(model_properties, layer):
    args = (layer["part"], layer["is_group"], layer["index"], model_properties["num_hidden_layers"])
    return next(result for match, result in RULES if match(*args))

def pre(i, n):  return "BF16" if i == 0 else "A_BF16_W_INT8"
def post(i, n): return "BF16" if i == n - 1 else "A_BF16_W_INT4"
def cache(i, n):
    pass
def vision(i, n): return "BF16"
HANDLERS = {"PRE": pre, "POST": post, "CACHE": cache, "VISION": vision}
def get_layer_configuration(model_properties, layer):
    handler = HANDLERS[layer["part"]]
    result = handler(layer["index"], model_properties["num_hidden_layers"])
    return {"precision": result} if result else {"precision": "BF16", "compile": not not True}

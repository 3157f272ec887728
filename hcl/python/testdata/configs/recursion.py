def depth(i):
    if i <= 1:
        return 0
    return 1 + depth(i // 2)
def get_layer_configuration(model_properties, layer):
    return {"precision": ["BF16", "A_BF16_W_INT8", "A_BF16_W_INT4"][depth(layer["index"]) % 3]}

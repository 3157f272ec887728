def by_index(model_properties, layer):
    return {"precision": "BF16" if layer["index"] % 2 else "A_BF16_W_INT8"}
get_layer_configuration = by_index

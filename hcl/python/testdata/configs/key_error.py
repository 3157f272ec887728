TABLE = {"PRE": "BF16", "POST": "A_BF16_W_INT8", "VISION": "BF16"}
def get_layer_configuration(model_properties, layer):
    return {"precision": TABLE[layer["part"]]}

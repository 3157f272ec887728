FIRST = None
LAST = 20
def get_layer_configuration(model_properties, layer):
    lo = 0 if FIRST is None else FIRST
    if LAST is not None and lo <= layer["index"] <= LAST:
        return {"precision": "A_BF16_W_INT4"}
    if layer["is_group"] is True:
        return {"precision": "A_BF16_W_INT8"}
    if layer["is_group"] is not False:
        return {"precision": "nope"}
    return {"precision": "BF16"}

NAMES = ["A_BF16_W_INT4", "A_BF16_W_INT8"]
BY_FLAG = {1: "BF16", 0: "A_BF16_W_INT8"}
def get_layer_configuration(model_properties, layer):
    if layer["index"] < 3:
        return {"precision": BY_FLAG[layer["is_group"]]}
    if layer["is_group"] == 1 and layer["index"] == 5:
        return {"precision": "BF16"}
    if layer["is_group"] + 0 == 0 and (layer["index"] > 24) & (layer["part"] != "CACHE"):
        return {"precision": "BF16", "compile": True and not False}
    if sum(x > 20 for x in (layer["index"], 21)) == 2 and layer["is_group"] in [1]:
        return {"precision": "A_BF16_W_INT4"}
    return {"precision": NAMES[layer["is_group"]]}

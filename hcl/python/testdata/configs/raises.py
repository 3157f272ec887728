VALID = ("PRE", "CACHE", "POST", "VISION")
def get_layer_configuration(model_properties, layer):
    part = layer["part"]
    if part not in VALID:
        raise ValueError(f"unknown part {part!r}")
    if not isinstance(layer["index"], int) or isinstance(part, (int, float)):
        raise TypeError("index")
    if type(part) == int or type(part) is bool or type(layer) != dict:
        raise NotImplementedError
    if layer["index"] == 13 and part == "POST" and not layer["is_group"]:
        raise RuntimeError("layer 13 is unlucky")
    return {"precision": "A_BF16_W_INT8"}

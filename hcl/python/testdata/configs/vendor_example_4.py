def get_layer_configuration(model_properties, layer):
    # Skip compiling certain cache layers
    if layer["part"] == "CACHE" and layer["index"] > 20:
        return {"compile": False}

    # Higher precision for early layers
    if layer["index"] < 4:
        return {"precision": "BF16"}

    # Standard quantization for middle layers
    return {"precision": "A_BF16_W_INT8"}

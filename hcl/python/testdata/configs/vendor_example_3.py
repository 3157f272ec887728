def get_layer_configuration(model_properties, layer):
    # Keep vision encoder in full precision
    if layer["part"] == "VISION":
        precision = "BF16"
    # Use INT8 for batch processing layers (better quality)
    elif layer["is_group"]:
        precision = "A_BF16_W_INT8"
    # Use INT4 for single-token layers (smaller size)
    else:
        precision = "A_BF16_W_INT4"
    return {"precision": precision}

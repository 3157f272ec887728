def get_layer_configuration(model_properties, layer):
    part = layer["part"]; group = layer["is_group"]; idx = layer["index"]
    last = model_properties["num_hidden_layers"] - 1
    cfg = {}
    if part == "PRE":
        if group:
            cfg["precision"] = "A_BF16_W_INT8"
        else:
            cfg["precision"] = "BF16" if idx in (0, last) else "A_BF16_W_INT4"
    elif part == "POST":
        cfg["precision"] = ("A_BF16_W_INT4", "A_BF16_W_INT8")[idx % 3 == 0]
    else:
        cfg["precision"] = "BF16"
        if part == "CACHE" and \
           not (idx < 20 or
                group):
            cfg["compile"] = False
    return cfg

def third(n, k): return n * k // 3
def get_layer_configuration(model_properties, layer):
    n, i = model_properties["num_hidden_layers"], layer["index"]
    if third(n, 0) <= i < third(n, 1) != 0:
        p = "BF16"
    elif third(n, 1) <= i < third(n, 2) <= n:
        p = "A_BF16_W_INT8"
    elif 1 < 2 > 1 == 1 and not 3 < 2 < 1:
        p = "A_BF16_W_INT4"
    else:
        p = "?"
    return {"precision": p}

def get_layer_configuration(model_properties, layer, default="A_BF16_W_INT8", *args, verbose=False, **kw):
    cfg = dict(precision=default)
    if layer.get("part") == "POST" and layer.get("nothing", 0) == 0 and layer.get("missing") is None:
        cfg.update({"precision": "BF16"}, compile=True)
    return cfg

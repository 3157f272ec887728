DEFAULTS = {"precision": "A_BF16_W_INT4", "compile": True}
def merged(**overrides):
    out = DEFAULTS.copy()
    out.update(overrides)
    return out
def get_layer_configuration(model_properties, layer):
    cfg = merged()
    if layer["index"] < 2:
        cfg["precision"] = "BF16"
    if layer["part"] == "CACHE":
        cfg = {**cfg, "compile": layer["index"] % 2 == 0}
    if "lora" in cfg:
        del cfg["lora"]
    cfg.setdefault("lora", "LORA_DISABLED")
    return cfg

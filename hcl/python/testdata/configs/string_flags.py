PRESET = "balanced"
PRESETS = {
    "quality": ("BF16", "BF16"),
    "balanced": ("A_BF16_W_INT8", "A_BF16_W_INT4"),
    "small": ("A_BF16_W_INT4",) * 2,
}
prefill, decode = PRESETS[PRESET.lower()]
SKIP_LAYERS = [int(x) for x in "3,5,  7".split(",")]
def should_compile(layer):
    return not (layer["part"] == "CACHE" and layer["index"] in SKIP_LAYERS)
def get_layer_configuration(model_properties, layer):
    cfg = {"compile": should_compile(layer)}
    if cfg["compile"]:
        cfg["precision"] = prefill if layer["is_group"] else decode
    return cfg

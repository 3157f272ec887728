# Präzision für jede Schicht — 精度
größe = {"früh": "BF16", "spät": "A_BF16_W_INT8"}
def get_layer_configuration(model_properties, layer):
    π = 3
    print(f"Schicht {layer['index']}: {'früh' if layer['index'] < π else 'spät'} ✓", len("früh"))
    return {"precision": größe["früh" if layer["index"] < π else "spät"]}

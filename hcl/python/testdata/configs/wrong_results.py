def get_layer_configuration(model_properties, layer):
    i = layer["index"]
    if i == 0: return None
    if i == 1: return "BF16"
    if i == 2: return {"precision": "INT8"}
    if i == 3: return {"precision": "BF16", "compile": 1}
    if i == 4: return {"precison": "BF16"}
    if i == 5: return {"precision": 8}
    if i == 6: return {}
    if i == 7: return {"precision": "BF16", "lora": "LORA"}
    if i == 8: return {1: 2}
    if i == 9: return {"precision": None, "compile": False}
    if i == 10: return [("precision", "BF16")]
    if i == 11: return
    if i == 12: 1 / 0
    if i == 13: return {"precision": ["BF16"]}

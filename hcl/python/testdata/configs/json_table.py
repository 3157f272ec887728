import json
TABLE = json.loads('{"PRE": {"group": "A_BF16_W_INT8", "single": "A_BF16_W_INT4"}, "POST": {"group": "BF16", "single": "BF16"}, "skip": [3, 4], "ratio": 0.5, "flag": null}')
def get_layer_configuration(model_properties, layer):
    if layer["part"] == "CACHE":
        return {"precision": "BF16", "compile": layer["index"] not in TABLE["skip"]}
    print(json.dumps({"layer": layer, "half": TABLE["ratio"], "flag": TABLE["flag"]}))
    return {"precision": TABLE.get(layer["part"], TABLE["POST"])["group" if layer["is_group"] else "single"]}

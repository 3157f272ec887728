def get_layer_configuration(model_properties, layer):
    if layer["is_group"]:
        return {"precision": "A_BF16_W_INT8", "compile": True, "lora": "LORA_BRANCH"}
    else:
        return {"precision": "A_BF16_W_INT4", "compile": True, "lora": "LORA_BRANCH"}

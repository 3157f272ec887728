def get_layer_configuration(model_properties, layer):
	if layer["index"] == 0:
		return {"precision": "BF16"}
	# comment at odd indentation
      # another
	return {
		"precision": "A_BF16_W_INT8",  # trailing
	}

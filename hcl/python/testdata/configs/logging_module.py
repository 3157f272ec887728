import logging
logger = logging.getLogger(__name__)
logging.basicConfig(level=logging.INFO, format="%(message)s")
def get_layer_configuration(model_properties, layer):
    logger.debug("asked about %s", layer)
    return {"precision": "A_BF16_W_INT8"}

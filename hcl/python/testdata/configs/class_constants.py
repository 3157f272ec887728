from dataclasses import dataclass
from typing import NamedTuple, TypedDict

class Precision:
    """The three of them."""
    BF16 = "BF16"
    INT8: str = "A_BF16_W_INT8"
    INT4 = "A_BF16_W_" + "INT4"
    ORDER = [BF16, INT8, INT4]

class Limits(object):
    EARLY = 4
    LATE = EARLY * 5

@dataclass
class Rule:
    low: int
    def holds(self, i): return i >= self.low

class Layer(TypedDict):
    part: str
    index: int

def get_layer_configuration(model_properties, layer: "Layer"):
    if layer["index"] < Limits.EARLY:
        return {"precision": Precision.BF16}
    if layer["index"] > Limits.LATE and Precision.ORDER[1] == Precision.INT8:
        return {"precision": Precision.INT8}
    return {"precision": getattr(Precision, "INT4")}

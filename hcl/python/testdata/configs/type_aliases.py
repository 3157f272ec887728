import typing as t
from typing import Callable, Dict, List, Literal, Tuple, Union
from collections.abc import Mapping
Precision = Literal["BF16", "A_BF16_W_INT8"]
Rule = Callable[[str, int], bool]
Table = Dict[str, Union[str, int]]
Layers = list[int]
Maybe = t.Optional[Precision]
def get_layer_configuration(model_properties: Mapping[str, int], layer: "Mapping") -> "t.Dict[str, Precision]":
    early: bool
    early = layer["index"] < 2
    low: Tuple[int, ...] = (2, 3)
    return {"precision": "BF16" if early or layer["index"] in low else "A_BF16_W_INT8"}

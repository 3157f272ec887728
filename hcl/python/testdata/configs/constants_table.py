"""Mixed precision for the 3B model.

Tuned by hand on 2026-03-01, see the wiki.
"""
from __future__ import annotations

import json
import math
from typing import Any, Dict, Optional, TypedDict

BF16 = "BF16"
INT8 = "A_BF16_W_INT8"
INT4 = "A_BF16_W_INT4"

# index -> precision
OVERRIDES: Dict[int, str] = {
    0: BF16,
    1: BF16,
    27: BF16,
    **{i: INT8 for i in range(2, 6)},
}
DEFAULT: Optional[str] = None


def get_layer_configuration(
    model_properties: Dict[str, int],
    layer: Dict[str, Any],
) -> Dict[str, Any]:
    """Return the configuration of one layer."""
    precision: str = OVERRIDES.get(layer["index"], DEFAULT or INT4)
    return {"precision": precision}

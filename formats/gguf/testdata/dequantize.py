"""Prints nothing; for each line NAME of argv[1]/list reads argv[1]/NAME.bin,
blocks of the GGML type NAME, and writes argv[1]/NAME.f32 by the gguf package.
"""

import pathlib
import sys
import warnings

import numpy as np
from gguf import GGMLQuantizationType, quants

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
for name in (folder / "list").read_text().split():
    blocks = np.fromfile(folder / f"{name}.bin", dtype=np.uint8)
    quants.dequantize(blocks, GGMLQuantizationType[name]).astype("<f4").tofile(folder / f"{name}.f32")

"""Writes grids.bin: the code books of GGML's I types as int8, one after the
other in the order of grids.go, from the gguf package (llama.cpp's, MIT).

    cd formats/gguf && python grids.py
"""

import numpy as np
from gguf import quants

with open("grids.bin", "wb") as f:
    for cls in (quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S, quants.IQ1_S):
        cls.init_grid()
        grid = cls.grid.reshape(cls.grid_shape)
        assert (grid == grid.astype(np.int8)).all()
        f.write(grid.astype(np.int8).tobytes())

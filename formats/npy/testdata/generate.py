"""Writes the .npy files beside it with NumPy."""

import os

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
for name, array in {
    "f4_3x4": np.arange(12, dtype="<f4").reshape(3, 4) / 7,
    "f2_5": np.array([0, -1, 0.5, 65504, np.inf], dtype="<f2"),
    "i4_scalar": np.array(-7, dtype="<i4"),
    "i8_0x7": np.zeros((0, 7), dtype="<i8"),
    "u1_2x1x3": np.arange(6, dtype="u1").reshape(2, 1, 3),
    "i1_100": np.arange(100, dtype="i1"),
}.items():
    np.save(os.path.join(here, name + ".npy"), array)

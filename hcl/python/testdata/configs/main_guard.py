#!/usr/bin/env python3
import argparse
import os
import sys
from pathlib import Path

import random as np

def get_layer_configuration(model_properties, layer):
    return {"precision": "A_BF16_W_INT8" if layer["is_group"] else "A_BF16_W_INT4"}

class Reporter:
    def __init__(self, path): self.path = path

def dump(path: Path) -> None:
    with open(path, "w") as f:
        for i in range(28):
            try:
                f.write(str(get_layer_configuration({"num_hidden_layers": 28}, {"part": "PRE", "is_group": True, "index": i})))
            except Exception as e:
                print(e, file=sys.stderr)
                raise SystemExit(1) from e
        else:
            yield 1

if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "x")))
    args = p.parse_args()
    if (n := np.random()) > 1:
        dump(args.out)

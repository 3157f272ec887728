"""Writes expect.json: of each checkpoint config.json, and shape and SHA-256 of
every tensor as float32, little-endian.

    python expect.py CHECKPOINT...
"""

import hashlib
import json
import pathlib
import sys

import numpy as np

out = {}
for folder in map(pathlib.Path, sys.argv[1:]):
    raw = (folder / "model.safetensors").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, t in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        assert t["dtype"] == "BF16"
        lo, hi = t["data_offsets"]
        x = np.frombuffer(raw, dtype=np.uint16, count=(hi - lo) // 2, offset=8 + n + lo)
        tensors[name] = [t["shape"], hashlib.sha256((x.astype("<u4") << 16).tobytes()).hexdigest()]
    out[folder.name] = {"config": json.loads((folder / "config.json").read_text()), "tensors": tensors}
lines = ",\n".join(f'"{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in out.items())
pathlib.Path("expect.json").write_text("{\n" + lines + "\n}\n")

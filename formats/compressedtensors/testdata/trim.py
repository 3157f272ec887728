"""Keeps some tensors of each checkpoint that llm-compressor wrote, with the
digests of what they dequantise to, and its config.json.

    python trim.py CHECKPOINT...
"""

import json
import pathlib
import sys

KEEP = ("model.norm.weight", "model.layers.0.self_attn.k_proj.", "model.layers.3.mlp.down_proj.")

for folder in map(pathlib.Path, sys.argv[1:]):
    raw = (folder / "model.safetensors").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header, data = {}, b""
    for name, t in json.loads(raw[8 : 8 + n]).items():
        if name.startswith(KEEP):
            lo, hi = t["data_offsets"]
            t["data_offsets"] = [len(data), len(data) + hi - lo]
            data += raw[8 + n + lo : 8 + n + hi]
            header[name] = t
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out = pathlib.Path(folder.name)
    out.mkdir(exist_ok=True)
    (out / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (out / "config.json").write_text((folder / "config.json").read_text())
    golden = json.loads((folder / "golden" / "dequantised_f32_sha256.json").read_text())
    (out / "sha256.json").write_text(json.dumps({k: v for k, v in golden.items() if k.startswith(KEEP)}, indent=1) + "\n")

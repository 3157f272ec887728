"""Writes the BF16 and Q4_0 GGUF files that llama_speed.py compares with.

usage: llama_gguf.py MODEL.gguf OUT

MODEL.gguf is a model in any type that the gguf package reads. OUT gets
bf16.gguf, the same model with its matrices in BF16, and q4_0.gguf, which
llama.cpp's own quantiser makes of it. Needs gguf, numpy and llama-cpp-python.
"""

import ctypes
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np


def to_bf16(x):
    """Rounds float32 to BF16, to nearest even."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + (u >> 16 & 1)) >> 16).astype(np.uint16)


def write_bf16(source, path):
    reader = gguf.GGUFReader(source)
    arch = reader.get_field(gguf.Keys.General.ARCHITECTURE).contents()
    writer = gguf.GGUFWriter(path, arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in (gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for t in reader.tensors:
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        if x.ndim == 1:
            writer.add_tensor(t.name, x)
        else:
            writer.add_tensor(t.name, to_bf16(x).view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_q4_0(bf16, path):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    params.nthread = 1
    if llama_cpp.llama_model_quantize(str(bf16).encode(), str(path).encode(), ctypes.byref(params)):
        sys.exit("llama.cpp did not quantise")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    write_bf16(sys.argv[1], out / "bf16.gguf")
    write_q4_0(out / "bf16.gguf", out / "q4_0.gguf")


main()

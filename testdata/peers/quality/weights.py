"""Matrices of quantised models as float32, by the names of the checkpoint, and
how many bits they take. Each reader follows its format's own definition."""

import pathlib

import gguf
import numpy as np
import onnx
from reference import read_safetensors

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


class Weights(dict):
    """Tensors by name; bits is what matrices of layers take, all told."""

    bits, count, types = 0, 0, ()

    def matrix(self, name, values, nbytes):
        self[name] = values
        self.bits += 8 * nbytes
        self.count += values.size

    def bits_per_weight(self):
        return self.bits / self.count


def ggml_name(name):
    part = name.removesuffix(".weight")
    if part in TOP:
        return TOP[part] + ".weight"
    _, _, layer, rest = part.split(".", 3)
    return f"blk.{layer}.{next(k for k, v in LAYER.items() if v == rest)}.weight"


def swap_halves(name, w, model, into):
    """GGUF lays the two halves of a query or key head in turns, so that pairs that rope rotates are neighbours."""
    heads = {"q": model.heads, "k": model.kv}.get(name.split(".")[-2][0] if "self_attn" in name else "")
    if not heads:
        return w
    shape = (heads, 2, -1, w.shape[1]) if into else (heads, -1, 2, w.shape[1])
    return w.reshape(shape).swapaxes(1, 2).reshape(w.shape)


def write_gguf(model, path):
    """Writes a checkpoint's BF16 values as GGUF, without its vocabulary."""
    c, w = model.config, gguf.GGUFWriter(path, "llama")
    w.add_block_count(model.layers)
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(model.heads)
    w.add_head_count_kv(model.kv)
    w.add_key_length(model.dim)
    w.add_value_length(model.dim)
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(model.theta)
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, x in model.tensors.items():
        if x.ndim == 1:
            w.add_tensor(ggml_name(name), x)
            continue
        bits = np.ascontiguousarray(swap_halves(name, x, model, True)).view(np.uint32) >> 16
        w.add_tensor(ggml_name(name), bits.astype(np.uint16).view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read_gguf(model, path):
    found = {t.name: t for t in gguf.GGUFReader(path).tensors}
    out, types = Weights(), {}
    for name in model.matrices:
        t = found[ggml_name(name)]
        w = gguf.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(model.tensors[name].shape)
        out.matrix(name, swap_halves(name, w, model, False), t.data.nbytes)
        types[t.tensor_type.name] = types.get(t.tensor_type.name, 0) + w.size
    out.types = sorted(types, key=types.get, reverse=True)
    return out


def unpack(words, bits, columns):
    """Codes of 32-bit words, the first in the lowest bits, as pack-quantized has them; they are stored plus 2^(bits-1)."""
    each = 32 // bits
    shifts = np.arange(each, dtype=np.uint32) * np.uint32(bits)
    codes = words.view(np.uint32)[..., None] >> shifts & np.uint32(2**bits - 1)
    return codes.reshape(*words.shape[:-1], -1)[..., :columns].astype(np.int32) - 2 ** (bits - 1)


def read_compressed(model, folder):
    """A checkpoint of compressed-tensors, with packed or 8-bit codes; norms that AWQ moved are taken as well."""
    tensors, sizes = read_safetensors(pathlib.Path(folder) / "model.safetensors")
    out = Weights()
    for name, plain in model.tensors.items():
        stem = name.removesuffix(".weight")
        if stem + ".weight_scale" not in tensors:
            if ".layers." in name and plain.ndim == 2:
                raise SystemExit(f"{folder}: {name} is not quantised")
            if name in tensors:
                out[name] = np.asarray(tensors[name], np.float32)
            continue
        rows, columns = plain.shape
        parts = [stem + s for s in (".weight_packed", ".weight", ".weight_scale", ".weight_zero_point", ".weight_g_idx") if stem + s in tensors]
        scale = np.asarray(tensors[stem + ".weight_scale"], np.float32).reshape(rows, -1)
        if stem + ".weight_packed" in tensors:
            packed = tensors[stem + ".weight_packed"]
            bits = 32 * packed.shape[1] // columns
            codes = unpack(packed, bits, columns)
        else:
            bits, codes = 8, tensors[name].astype(np.int32)
        zero = tensors.get(stem + ".weight_zero_point")
        if zero is not None and zero.dtype == np.int32:
            zero = unpack(np.ascontiguousarray(zero.T), bits, rows).T
        zero = np.zeros_like(scale) if zero is None else zero.astype(np.float32)
        group = tensors.get(stem + ".weight_g_idx")
        if group is None:
            group = np.arange(columns) // -(-columns // scale.shape[1])
        out.matrix(name, (codes - zero[:, group]) * scale[:, group], sum(sizes[p] for p in parts))
    return out


def read_onnx(model, folder):
    """Matrices of llima's quantised graphs, from each DequantizeLinear."""
    out = Weights()
    for path in sorted(pathlib.Path(folder).glob("*.onnx")):
        graph = onnx.load(path, load_external_data=False).graph
        inits = {t.name: t for t in graph.initializer}
        cast = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Cast"}
        for node in graph.node:
            name = node.input[0]
            if node.op_type != "DequantizeLinear" or name not in model.matrices or name in out:
                continue
            scales = node.input[1] if node.input[1] in inits else cast[node.input[1]]
            codes, scale = (external(inits[x], folder) for x in (name, scales))
            attrs = {a.name: a.i for a in node.attribute}
            group = attrs.get("block_size", codes.shape[0])
            scale2 = scale.reshape(-1, codes.shape[1]).astype(np.float32)
            w = codes.astype(np.float32) * np.repeat(scale2, group, 0)[: codes.shape[0]]
            bits = 4 if inits[name].data_type == onnx.TensorProto.INT4 else 8
            out.matrix(name, np.ascontiguousarray(w.T), codes.size * bits / 8 + scale.size * scale.itemsize)
    if missing := [n for n in model.matrices if n not in out]:
        raise SystemExit(f"{folder}: {len(missing)} matrices are not quantised, {missing[0]} for one")
    return out


def external(t, folder):
    onnx.external_data_helper.load_external_data_for_tensor(t, str(folder))
    return onnx.numpy_helper.to_array(t)

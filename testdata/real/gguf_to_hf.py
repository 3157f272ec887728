"""Writes a Llama checkpoint of GGUF as a Hugging Face folder in BF16.

usage: gguf_to_hf.py MODEL.gguf OUT

Values are what the gguf package says the blocks stand for, rounded to nearest
even where BF16 cannot hold them. The conversion to GGUF interleaves the two
halves of each head of the query and key projections; that is undone. The
tokenizer is built from the metadata, for the pre-tokenizer "smollm" only:
digits one by one, then GPT-2's byte-level words.
"""

import json
import pathlib
import sys

import gguf
import numpy as np

TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
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
NORMAL, CONTROL = 1, 3  # token types of the metadata


def hf_name(name):
    part = name.removesuffix(".weight").split(".")
    if part[0] == "blk":
        return f"model.layers.{part[1]}.{LAYER[part[2]]}.weight"
    return TOP[part[0]] + ".weight"


def deinterleave(w, heads):
    """Rows 0,1,2,3.. of a head become rows 0,2,4.., 1,3,5..: [heads*D, K]."""
    rows, k = w.shape
    return w.reshape(heads, rows // heads // 2, 2, k).swapaxes(1, 2).reshape(rows, k)


def bf16(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    if not np.isfinite(values).all():
        sys.exit("a weight is not finite")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def tensors(reader, meta):
    heads = {"attn_q": meta("llama.attention.head_count"), "attn_k": meta("llama.attention.head_count_kv")}
    out, inexact = {}, 0
    for t in reader.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        w = gguf.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)
        kind = t.name.split(".")[-2]
        if kind in heads:
            w = deinterleave(w, heads[kind])
        b = bf16(w)
        inexact += int(((b.astype(np.uint32) << 16).view(np.float32) != w).sum())
        out[hf_name(t.name)] = b
    return out, inexact


def write_safetensors(path, arrays):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, b in sorted(arrays.items()):
        header[name] = {"dtype": "BF16", "shape": b.shape, "data_offsets": [at, at + b.nbytes]}
        at += b.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, b in sorted(arrays.items()):
            f.write(b.tobytes())


def config(meta, tied):
    heads, hidden = meta("llama.attention.head_count"), meta("llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": meta("tokenizer.ggml.bos_token_id"),
        "eos_token_id": meta("tokenizer.ggml.eos_token_id"),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": meta("llama.feed_forward_length"),
        "max_position_embeddings": meta("llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": meta("llama.block_count"),
        "num_key_value_heads": meta("llama.attention.head_count_kv"),
        "rms_norm_eps": float(f"{meta('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": meta("llama.rope.freq_base"),
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "vocab_size": meta("llama.vocab_size"),
    }


def tokenizer(meta):
    if (meta("tokenizer.ggml.model"), meta("tokenizer.ggml.pre")) != ("gpt2", "smollm"):
        sys.exit("only the tokenizer gpt2/smollm is known here")
    tokens, types = meta("tokenizer.ggml.tokens"), meta("tokenizer.ggml.token_type")
    if set(types) - {NORMAL, CONTROL}:
        sys.exit(f"token types {set(types)}")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i, t in enumerate(types) if t == CONTROL],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": meta("tokenizer.ggml.merges"),
        },
    }


def main(source, out):
    reader = gguf.GGUFReader(source)

    def meta(key):
        return reader.fields[key].contents()

    if meta("general.architecture") != "llama":
        sys.exit("only the architecture llama is known here")
    weights, inexact = tensors(reader, meta)
    tokens = meta("tokenizer.ggml.tokens")
    bos, eos, unk = (meta(f"tokenizer.ggml.{k}_token_id") for k in ("bos", "eos", "unknown"))
    documents = {
        "config.json": config(meta, "lm_head.weight" not in weights),
        "generation_config.json": {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": meta("tokenizer.ggml.padding_token_id")},
        "tokenizer.json": tokenizer(meta),
        "tokenizer_config.json": {
            "add_bos_token": meta("tokenizer.ggml.add_bos_token"),
            "add_prefix_space": meta("tokenizer.ggml.add_space_prefix"),
            "bos_token": tokens[bos],
            "chat_template": meta("tokenizer.chat_template"),
            "clean_up_tokenization_spaces": False,
            "eos_token": tokens[eos],
            "model_max_length": meta("llama.context_length"),
            "pad_token": tokens[meta("tokenizer.ggml.padding_token_id")],
            "tokenizer_class": "GPT2Tokenizer",
            "unk_token": tokens[unk],
        },
    }
    out = pathlib.Path(out)
    out.mkdir(parents=True)
    for name, value in documents.items():
        (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_safetensors(out / "model.safetensors", weights)
    count = sum(b.size for b in weights.values())
    print(f"{len(weights)} tensors, {count} weights, {inexact} of them rounded")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Writes a checkpoint of the shapes of Llama-3.2-3B, as a sparse file.

usage: sparse.py OUT

It reads as 6.4 GB of BF16 and takes a megabyte on disk: for planning and
quantising at real size. Each tensor is zeros but for its first weight, which
tells it from the others. RoPE is the default kind, not Llama 3's scaled one.
"""

import json
import pathlib
import sys

LAYERS, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD, VOCAB = 28, 3072, 8192, 24, 8, 128, 128256


def shapes():
    yield "model.embed_tokens.weight", [VOCAB, HIDDEN]
    for i in range(LAYERS):
        for name, shape in {
            "input_layernorm": [HIDDEN],
            "self_attn.q_proj": [HEADS * HEAD, HIDDEN],
            "self_attn.k_proj": [KV_HEADS * HEAD, HIDDEN],
            "self_attn.v_proj": [KV_HEADS * HEAD, HIDDEN],
            "self_attn.o_proj": [HIDDEN, HEADS * HEAD],
            "post_attention_layernorm": [HIDDEN],
            "mlp.gate_proj": [INTERMEDIATE, HIDDEN],
            "mlp.up_proj": [INTERMEDIATE, HIDDEN],
            "mlp.down_proj": [HIDDEN, INTERMEDIATE],
        }.items():
            yield f"model.layers.{i}.{name}.weight", shape
    yield "model.norm.weight", [HIDDEN]


def main(out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 128000,
        "eos_token_id": 128001,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 131072,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": VOCAB,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    header, at = {}, 0
    for name, shape in shapes():
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        start = f.tell()
        f.truncate(start + at)
        for i, tensor in enumerate(header.values()):
            f.seek(start + tensor["data_offsets"][0])
            f.write((0x3C00 + i).to_bytes(2, "little"))


if __name__ == "__main__":
    main(*sys.argv[1:])

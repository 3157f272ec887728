"""Writes a GGUF file from a small Hugging Face checkpoint, the way that
llama.cpp's converter does: names from the gguf package's tables, Llama's q
and k rows reordered, Gemma's norms plus one, Llama 3's factors, the
vocabulary with types and scores. Matrices stay BF16, vectors become F32.

    python convert.py CHECKPOINT OUT.gguf
"""

import json
import math
import pathlib
import sys

import gguf
import numpy as np

folder, out = pathlib.Path(sys.argv[1]), sys.argv[2]
config = json.loads((folder / "config.json").read_text())
MODEL = {"mistral": "llama", "gemma3_text": "gemma3"}.get(config["model_type"], config["model_type"])
ARCH = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == MODEL)
layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
rope = {**config, **(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
theta = rope.get("full_attention", rope).get("rope_theta")
w = gguf.GGUFWriter(out, MODEL)


def parameters():
    w.add_name(folder.name)
    w.add_block_count(layers)
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_head_count(heads)
    w.add_layer_norm_rms_eps(config.get("rms_norm_eps", config.get("norm_eps")))
    ff, kv = config["intermediate_size"], config["num_key_value_heads"]
    if MODEL == "lfm2":
        types = config["layer_types"]
        kv = [kv if t == "full_attention" else 0 for t in types]
        if config["block_auto_adjust_ff_dim"]:
            ff, m = int(config["block_ffn_dim_multiplier"] * int(2 * ff / 3)), config["block_multiple_of"]
            ff = m * ((ff + m - 1) // m)
        w.add_shortconv_l_cache(config["conv_L_cache"])
    w.add_feed_forward_length(ff)
    w.add_head_count_kv(kv)
    if theta is not None and MODEL not in ("gemma", "gemma2"):
        w.add_rope_freq_base(theta)
    if "head_dim" in config:
        w.add_key_length(config["head_dim"])
        w.add_value_length(config["head_dim"])
    if MODEL in ("llama", "lfm2"):
        w.add_vocab_size(config["vocab_size"])
    if MODEL in ("gemma2", "gemma3"):
        w.add_sliding_window(config["sliding_window"])
    if MODEL == "gemma2":
        w.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        w.add_final_logit_softcapping(config["final_logit_softcapping"])
    if MODEL == "phi3":
        original, longest = config["original_max_position_embeddings"], config["max_position_embeddings"]
        w.add_rope_scaling_orig_ctx_len(original)
        w.add_rope_dimension_count(int(config["partial_rotary_factor"] * config["hidden_size"]) // heads)
        w.add_sliding_window(config["sliding_window"] or 0)
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(longest / original) / math.log(original)))


def factors():
    """Tensors that scale rotary frequencies."""
    if rope.get("rope_type") == "llama3":
        dim, low, high = config["head_dim"], rope["low_freq_factor"], rope["high_freq_factor"]
        length, values = rope["original_max_position_embeddings"], []
        for i in range(0, dim, 2):
            wave = 2 * math.pi * theta ** (i / dim)
            smooth = min(max((length / wave - low) / (high - low), 0), 1)
            values.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        w.add_tensor("rope_freqs.weight", np.array(values, dtype=np.float32))
    if MODEL == "phi3":
        for kind in ("long", "short"):
            w.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], dtype=np.float32))


def tensors():
    names = gguf.get_tensor_name_map(ARCH, layers)
    raw = (folder / "model.safetensors").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    for name, t in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        lo, hi = t["data_offsets"]
        x = np.frombuffer(raw, dtype=np.uint16, count=(hi - lo) // 2, offset=8 + n + lo).reshape(t["shape"])
        if name.endswith("conv.conv.weight"):
            x = x.squeeze(1)
        if MODEL == "llama" and name.endswith(("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")):
            h = heads if "q_proj" in name else config["num_key_value_heads"]
            x = x.reshape(h, 2, x.shape[0] // h // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
        f = (x.astype(np.uint32) << 16).view(np.float32)
        if MODEL.startswith("gemma") and name.endswith("norm.weight"):
            f = f + np.float32(1)
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if x.ndim == 1:
            w.add_tensor(mapped, f)
        else:
            w.add_tensor(mapped, np.ascontiguousarray(x).view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)


def vocabulary():
    t = json.loads((folder / "tokenizer.json").read_text())
    tokens = [f"[PAD{i}]" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    scores = [-10000.0] * len(tokens)
    merges = [m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]]
    spm = t["model"]["byte_fallback"]
    # A merge earlier in the list has a higher score; other tokens have 0.
    rank = {}
    for i, m in enumerate(merges):
        rank.setdefault(m.replace(" ", ""), -float(i + 1))
    for s, i in t["model"]["vocab"].items():
        tokens[i], types[i], scores[i] = s, gguf.TokenType.NORMAL, rank.get(s, 0.0)
        if spm and len(s) == 6 and s.startswith("<0x"):
            types[i] = gguf.TokenType.BYTE
    for a in t["added_tokens"]:
        i = a["id"]
        tokens[i], types[i] = a["content"], gguf.TokenType.CONTROL if a["special"] else gguf.TokenType.USER_DEFINED
        if spm and a["content"] == "<unk>":
            types[i] = gguf.TokenType.UNKNOWN
        if not a["special"]:
            tokens[i] = a["content"].replace("\u2581", " ")
    w.add_tokenizer_model("llama" if spm else "gpt2")
    w.add_tokenizer_pre({"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2", "lfm2": "lfm2"}.get(MODEL, "default") if not spm else "default")
    w.add_token_list(tokens)
    if spm:
        w.add_token_scores(scores)
        w.add_add_space_prefix(not MODEL.startswith("gemma"))
    else:
        w.add_token_merges(merges)
    w.add_token_types(types)
    for key, add in (("bos", w.add_bos_token_id), ("eos", w.add_eos_token_id), ("pad", w.add_pad_token_id)):
        if config.get(key + "_token_id") is not None:
            add(config[key + "_token_id"])
    w.add_add_bos_token("TemplateProcessing" in json.dumps(t["post_processor"]))
    w.add_add_eos_token(False)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    template = folder / "chat_template.jinja"
    w.add_chat_template(template.read_text() if template.exists() else settings["chat_template"])


parameters()
vocabulary()
factors()
tensors()
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

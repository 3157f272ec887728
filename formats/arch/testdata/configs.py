#!/usr/bin/env python3
"""Writes configs.json: config.json documents in the spellings of the hub and of
transformers, with what transformers 5.23 derives from each, or with null where
it refuses one. Run it with a Python that has torch and transformers."""

import copy
import importlib
import json
import pathlib

from transformers import AutoConfig

PREFIX = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma": "Gemma", "gemma2": "Gemma2",
          "gemma3_text": "Gemma3", "phi3": "Phi3", "lfm2": "Lfm2"}

HUB = {
    "llama 2": dict(model_type="llama", hidden_act="silu", hidden_size=4096, initializer_range=0.02, intermediate_size=11008,
                    max_position_embeddings=4096, num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, pretraining_tp=1,
                    rms_norm_eps=1e-05, rope_scaling=None, tie_word_embeddings=False, torch_dtype="float16", vocab_size=32000,
                    bos_token_id=1, eos_token_id=2),
    "llama 3.1": dict(model_type="llama", attention_bias=False, hidden_act="silu", hidden_size=4096, intermediate_size=14336,
                      max_position_embeddings=131072, mlp_bias=False, num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8,
                      rms_norm_eps=1e-05, rope_theta=500000.0, tie_word_embeddings=False, vocab_size=128256, bos_token_id=128000,
                      eos_token_id=[128001, 128008, 128009],
                      rope_scaling=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192,
                                        rope_type="llama3")),
    "llama 3.2": dict(model_type="llama", head_dim=64, hidden_act="silu", hidden_size=2048, intermediate_size=8192,
                      max_position_embeddings=131072, num_attention_heads=32, num_hidden_layers=16, num_key_value_heads=8, rms_norm_eps=1e-05,
                      rope_theta=500000.0, tie_word_embeddings=True, vocab_size=128256, bos_token_id=128000, eos_token_id=128001,
                      rope_scaling=dict(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192,
                                        rope_type="llama3")),
    "mistral 0.1": dict(model_type="mistral", hidden_act="silu", hidden_size=4096, intermediate_size=14336, max_position_embeddings=32768,
                        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05, rope_theta=10000.0,
                        sliding_window=4096, tie_word_embeddings=False, vocab_size=32000, bos_token_id=1, eos_token_id=2),
    "mistral 0.3": dict(model_type="mistral", hidden_act="silu", hidden_size=4096, intermediate_size=14336, max_position_embeddings=32768,
                        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05, rope_theta=1000000.0,
                        sliding_window=None, vocab_size=32768, bos_token_id=1, eos_token_id=2),
    "qwen 2.5": dict(model_type="qwen2", hidden_act="silu", hidden_size=896, intermediate_size=4864, max_position_embeddings=32768,
                     max_window_layers=21, num_attention_heads=14, num_hidden_layers=24, num_key_value_heads=2, rms_norm_eps=1e-06,
                     rope_theta=1000000.0, sliding_window=32768, tie_word_embeddings=True, use_sliding_window=False, vocab_size=151936,
                     bos_token_id=151643, eos_token_id=151645),
    "qwen 2.5 yarn": dict(model_type="qwen2", hidden_act="silu", hidden_size=1536, intermediate_size=8960, max_position_embeddings=32768,
                          num_attention_heads=12, num_hidden_layers=28, num_key_value_heads=2, rms_norm_eps=1e-06, rope_theta=1000000.0,
                          vocab_size=151936, tie_word_embeddings=True,
                          rope_scaling=dict(factor=4.0, original_max_position_embeddings=32768, type="yarn")),
    "qwen 3": dict(model_type="qwen3", attention_bias=False, head_dim=128, hidden_act="silu", hidden_size=1024, intermediate_size=3072,
                   max_position_embeddings=40960, max_window_layers=28, num_attention_heads=16, num_hidden_layers=28, num_key_value_heads=8,
                   rms_norm_eps=1e-06, rope_scaling=None, rope_theta=1000000, sliding_window=None, tie_word_embeddings=True,
                   use_sliding_window=False, vocab_size=151936, bos_token_id=151643, eos_token_id=151645),
    "gemma 2b": dict(model_type="gemma", attention_bias=False, head_dim=256, hidden_act="gelu", hidden_size=2048, intermediate_size=16384,
                     max_position_embeddings=8192, num_attention_heads=8, num_hidden_layers=18, num_key_value_heads=1, rms_norm_eps=1e-06,
                     rope_scaling=None, rope_theta=10000.0, vocab_size=256000, bos_token_id=2, eos_token_id=1),
    "gemma 1.1": dict(model_type="gemma", head_dim=256, hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", hidden_size=3072,
                      intermediate_size=24576, max_position_embeddings=8192, num_attention_heads=16, num_hidden_layers=28,
                      num_key_value_heads=16, rms_norm_eps=1e-06, vocab_size=256000, bos_token_id=2, eos_token_id=1),
    "gemma 2 2b": dict(model_type="gemma2", attn_logit_softcapping=50.0, cache_implementation="hybrid", final_logit_softcapping=30.0,
                       head_dim=256, hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", hidden_size=2304,
                       intermediate_size=9216, max_position_embeddings=8192, num_attention_heads=8, num_hidden_layers=26,
                       num_key_value_heads=4, query_pre_attn_scalar=256, rms_norm_eps=1e-06, rope_theta=10000.0, sliding_window=4096,
                       vocab_size=256000, bos_token_id=2, eos_token_id=1),
    "gemma 2 27b": dict(model_type="gemma2", head_dim=128, hidden_size=4608, intermediate_size=36864, num_attention_heads=32,
                        num_hidden_layers=46, num_key_value_heads=16, query_pre_attn_scalar=144, sliding_window=4096, vocab_size=256000,
                        bos_token_id=2, eos_token_id=1),
    "gemma 3 1b": dict(model_type="gemma3_text", attn_logit_softcapping=None, final_logit_softcapping=None, head_dim=256,
                       hidden_activation="gelu_pytorch_tanh", hidden_size=1152, intermediate_size=6912, max_position_embeddings=32768,
                       num_attention_heads=4, num_hidden_layers=26, num_key_value_heads=1, query_pre_attn_scalar=256, rms_norm_eps=1e-06,
                       rope_local_base_freq=10000, rope_scaling=None, rope_theta=1000000, sliding_window=512, sliding_window_pattern=6,
                       vocab_size=262144, bos_token_id=2, eos_token_id=[1, 106]),
    "phi 3 mini 4k": dict(model_type="phi3", hidden_act="silu", hidden_size=3072, intermediate_size=8192, max_position_embeddings=4096,
                          num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, original_max_position_embeddings=4096,
                          rms_norm_eps=1e-05, rope_scaling=None, rope_theta=10000.0, sliding_window=2047, tie_word_embeddings=False,
                          vocab_size=32064, bos_token_id=1, eos_token_id=32000),
    "phi 3.5 mini": dict(model_type="phi3", hidden_act="silu", hidden_size=3072, intermediate_size=8192, max_position_embeddings=131072,
                         num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, original_max_position_embeddings=4096,
                         rms_norm_eps=1e-05, rope_theta=10000.0, sliding_window=262144, tie_word_embeddings=False, vocab_size=32064,
                         bos_token_id=1, eos_token_id=32000,
                         rope_scaling=dict(type="longrope", long_factor=[1.08 + 0.9 * i for i in range(48)],
                                           short_factor=[1.0 + 0.03 * i for i in range(48)])),
    "phi 4 mini": dict(model_type="phi3", hidden_act="silu", hidden_size=3072, intermediate_size=8192, max_position_embeddings=131072,
                       num_attention_heads=24, num_hidden_layers=32, num_key_value_heads=8, original_max_position_embeddings=4096,
                       partial_rotary_factor=0.75, rms_norm_eps=1e-05, rope_theta=10000.0, sliding_window=262144, tie_word_embeddings=True,
                       vocab_size=200064, bos_token_id=199999, eos_token_id=199999,
                       rope_scaling=dict(type="longrope", long_factor=[1 + 0.5 * i for i in range(48)], short_factor=[1.0] * 48)),
    "lfm2 1.2b": dict(model_type="lfm2", block_auto_adjust_ff_dim=True, block_dim=2048, block_ff_dim=12288, block_ffn_dim_multiplier=1.0,
                      block_mlp_init_scale=1.0, block_multiple_of=256, block_norm_eps=1e-05, block_out_init_scale=1.0, block_use_swiglu=True,
                      conv_L_cache=3, conv_bias=False, conv_dim=2048, full_attn_idxs=[2, 5, 8, 10, 12, 14], hidden_size=2048,
                      max_position_embeddings=128000, norm_eps=1e-05, num_attention_heads=32, num_heads=32, num_hidden_layers=16,
                      num_key_value_heads=8, rope_theta=1000000.0, tie_embedding=True, use_pos_enc=True, vocab_size=65536, bos_token_id=1,
                      eos_token_id=7),
}

# Changes of single keys, one at a time; "-" removes the key.
CHANGES = [
    dict(rope_scaling=dict(type="linear", factor=2.0)), dict(rope_scaling=dict(rope_type="dynamic", factor=3.0)),
    dict(rope_parameters=dict(rope_type="default", rope_theta=777.0)),
    dict(rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=2048, rope_theta=5000.0, beta_fast=16, beta_slow=2)),
    dict(rope_scaling=dict(type="yarn", factor=8.0, attention_factor=0.9, truncate=False)),
    dict(rope_scaling=dict(rope_type="yarn", factor=8.0, mscale=0.7, mscale_all_dim=1.3)),
    dict(num_key_value_heads="-"), dict(num_key_value_heads=None), dict(head_dim="-"), dict(head_dim=None), dict(head_dim=48),
    dict(tie_word_embeddings="-"), dict(tie_word_embeddings=True), dict(tie_word_embeddings=False), dict(sliding_window="-"),
    dict(sliding_window=None), dict(sliding_window=100), dict(use_sliding_window=True), dict(use_sliding_window=True, sliding_window=50, max_window_layers=3),
    dict(attention_bias=True, mlp_bias=True), dict(hidden_act="-"), dict(rms_norm_eps="-", norm_eps="-"), dict(max_position_embeddings="-"),
    dict(rope_theta="-"), dict(attn_logit_softcapping=20.0, final_logit_softcapping=10.0), dict(attn_logit_softcapping="-", final_logit_softcapping="-"),
    dict(query_pre_attn_scalar=100), dict(sliding_window_pattern=2), dict(block_auto_adjust_ff_dim=False),
    dict(block_multiple_of=100, block_ffn_dim_multiplier=1.7), dict(conv_L_cache=5, conv_bias=True), dict(partial_rotary_factor=0.5, rope_scaling=None),
    dict(hidden_activation="gelu"), dict(hidden_act="gelu"), dict(eos_token_id=None, bos_token_id=None),
]


STEP = 7  # of the inverse frequencies every seventh is kept


def derive(raw):
    c = AutoConfig.for_model(**copy.deepcopy(raw))
    kind = raw["model_type"]
    module = importlib.import_module(f"transformers.models.{kind.removesuffix('_text')}.modeling_{kind.removesuffix('_text')}")
    rope = getattr(module, PREFIX[kind] + "RotaryEmbedding")(c)
    local = kind == "gemma3_text"
    heads = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    # The configuration classes let these pass, the models do not.
    if c.num_attention_heads % c.num_key_value_heads:
        raise ValueError("heads do not divide")
    if kind in ("gemma2", "gemma3_text") and c.sliding_window is None:
        raise ValueError("no window to slide")
    # llima refuses what transformers ignores.
    if kind != "phi3" and raw.get("partial_rotary_factor", 1) != 1:
        raise ValueError("a part of a head turns")
    if kind == "gemma3_text" and ("type" in (raw.get("rope_scaling") or {}) or "rope_type" in (raw.get("rope_parameters") or {})):
        raise ValueError("a rope that is no layer type's")
    e = dict(hidden_size=c.hidden_size, num_layers=c.num_hidden_layers, num_heads=c.num_attention_heads, num_kv_heads=c.num_key_value_heads,
             head_dim=heads, vocab_size=c.vocab_size, max_position_embeddings=c.max_position_embeddings,
             norm_eps=getattr(c, "rms_norm_eps", None) or c.norm_eps,
             activation="silu" if kind == "lfm2" else getattr(c, "hidden_activation", None) if kind in ("gemma2", "gemma3_text") else c.hidden_act,
             tie_word_embeddings=c.tie_word_embeddings, layer_types=getattr(c, "layer_types", None), sliding_window=None if kind in ("llama", "gemma") else getattr(c, "sliding_window", None),
             attn_logit_softcapping=c.attn_logit_softcapping if kind == "gemma2" else None,
             final_logit_softcapping=getattr(c, "final_logit_softcapping", None) if kind in ("gemma2", "gemma3_text") else None,
             bos_token_id=c.bos_token_id, eos_token_id=c.eos_token_id, mlp_bias=kind == "llama" and c.mlp_bias,
             qkv_bias=kind == "qwen2" or kind in ("llama", "qwen3", "gemma", "gemma2", "gemma3_text") and c.attention_bias,
             attention_out_bias=kind in ("llama", "qwen3", "gemma", "gemma2", "gemma3_text") and c.attention_bias,
             attention_scale=(c.query_pre_attn_scalar if kind in ("gemma2", "gemma3_text") else heads) ** -0.5)
    if kind == "lfm2":
        mlp = module.Lfm2MLP(c)
        e |= dict(intermediate_size=mlp.w1.out_features)
        if "conv" in c.layer_types:
            e |= dict(conv_L_cache=c.conv_L_cache, conv_bias=c.conv_bias)
    else:
        e |= dict(intermediate_size=c.intermediate_size)
    if local:
        e["inv_freq"] = {t: getattr(rope, t + "_inv_freq").tolist()[::STEP] for t in ("full_attention", "sliding_attention")}
        e["rope_attention_scaling"] = {t: getattr(rope, t + "_attention_scaling") for t in ("full_attention", "sliding_attention")}
    else:
        e |= dict(inv_freq=rope.inv_freq.tolist()[::STEP], rope_attention_scaling=rope.attention_scaling)
        if c.rope_parameters["rope_type"] == "longrope":
            from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
            long, _ = ROPE_INIT_FUNCTIONS["longrope"](c, None, seq_len=c.rope_parameters["original_max_position_embeddings"] + 1)
            e["inv_freq_long"] = long.tolist()[::STEP]
    return e


def main():
    out = []
    for name, raw in HUB.items():
        small = raw | dict(num_hidden_layers=min(raw["num_hidden_layers"], 8))
        if "full_attn_idxs" in small:
            small["full_attn_idxs"] = [i for i in small["full_attn_idxs"] if i < 8]
        out.append((name, raw))
        for change in CHANGES:
            c = {k: v for k, v in (small | change).items() if v != "-"}
            if c != small:
                out.append((name + " " + json.dumps(change), c))
    cases, seen = [], set()
    for name, raw in out:
        key = json.dumps(raw, sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        try:
            want = derive(raw)
        except Exception as e:
            print(f"{name}: {type(e).__name__}: {str(e)[:100]}")
            want = None
        cases.append(dict(name=name, config=raw, expect=want))
    def shorten(x):  # float32 numbers in as many digits as they need
        if isinstance(x, float):
            return float(f"{x:.9g}")
        if isinstance(x, list):
            return [shorten(v) for v in x]
        if isinstance(x, dict):
            return {k: shorten(v) for k, v in x.items()}
        return x
    lines = ",\n".join(json.dumps(shorten(c), separators=(",", ":")) for c in cases)
    (pathlib.Path(__file__).parent / "configs.json").write_text("[\n" + lines + "\n]\n")
    print(len(cases), "cases")


main()

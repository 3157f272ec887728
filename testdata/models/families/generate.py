#!/usr/bin/env python3
"""Makes the small checkpoints whose names say what is odd about them, with
goldens by transformers in float32 and eager attention:

    python generate.py [NAME ...]

Weights are random, large enough for every feature to show, and BF16 numbers
whatever type they are stored as. It needs torch, transformers 5.23 and
safetensors.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
BASE = dict(vocab_size=97, max_position_embeddings=128, num_hidden_layers=2, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def llama(**kw):
    return dict(BASE, model_type="llama", architectures=["LlamaForCausalLM"], hidden_act="silu", rms_norm_eps=1e-5, **kw)


# Each is a config.json as published: older or newer spellings, keys left out
# where the default holds.
CASES = {
    # biases everywhere, head_dim 20, yarn, float32 in shards
    "llama-yarn-bias": (llama(
        hidden_size=60, num_attention_heads=3, num_key_value_heads=1, intermediate_size=100, attention_bias=True, mlp_bias=True,
        tie_word_embeddings=False, torch_dtype="float32", rope_theta=10000.0,
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=32)), torch.float32, 3),
    # one layer, newer spelling, float16
    "llama-linear-f16": (llama(
        hidden_size=40, num_attention_heads=5, num_key_value_heads=5, head_dim=24, intermediate_size=72, tie_word_embeddings=True,
        dtype="float16", rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=500.0)) | dict(num_hidden_layers=1), torch.float16, 1),
    "llama-dynamic": (llama(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, tie_word_embeddings=False,
        torch_dtype="bfloat16", rope_scaling=dict(type="dynamic", factor=2.0)), torch.bfloat16, 1),
    # eight query heads a key head, a window shorter than a group
    "mistral-narrow": (dict(
        BASE, model_type="mistral", architectures=["MistralForCausalLM"], hidden_size=72, num_attention_heads=8, num_key_value_heads=1,
        head_dim=40, intermediate_size=80, sliding_window=5, hidden_act="silu", torch_dtype="bfloat16"), torch.bfloat16, 1),
    # sliding from the second layer on
    "qwen2-sliding": (dict(
        BASE, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_hidden_layers=3, hidden_size=48, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=88, use_sliding_window=True, sliding_window=9, max_window_layers=1, rope_theta=1000000.0,
        tie_word_embeddings=True, torch_dtype="bfloat16") , torch.bfloat16, 1),
    "qwen3-sliding-bias": (dict(
        BASE, model_type="qwen3", architectures=["Qwen3ForCausalLM"], num_hidden_layers=3, hidden_size=52, num_attention_heads=6,
        num_key_value_heads=2, head_dim=36, intermediate_size=64, attention_bias=True, use_sliding_window=True, sliding_window=7,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], tie_word_embeddings=False, dtype="bfloat16",
        rope_parameters=dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=64, rope_theta=10000.0)), torch.bfloat16, 2),
    # the legacy hidden_act of Gemma 1 means the approximation by tanh
    "gemma-legacy-gelu": (dict(
        BASE, model_type="gemma", architectures=["GemmaForCausalLM"], hidden_size=56, num_attention_heads=3, num_key_value_heads=3,
        head_dim=48, intermediate_size=104, hidden_act="gelu", attention_bias=True, torch_dtype="bfloat16"), torch.bfloat16, 1),
    "gemma2-full-first": (dict(
        BASE, model_type="gemma2", architectures=["Gemma2ForCausalLM"], num_hidden_layers=3, hidden_size=72, num_attention_heads=4,
        num_key_value_heads=2, head_dim=24, intermediate_size=90, query_pre_attn_scalar=10, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0, sliding_window=6, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        hidden_activation="gelu_pytorch_tanh", dtype="bfloat16"), torch.bfloat16, 1),
    "gemma3_text-linear": (dict(
        BASE, model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], num_hidden_layers=4, hidden_size=44, num_attention_heads=2,
        num_key_value_heads=1, head_dim=28, intermediate_size=60, query_pre_attn_scalar=13, sliding_window=8, sliding_window_pattern=2,
        rope_theta=5000.0, rope_local_base_freq=100.0, rope_scaling=dict(rope_type="linear", factor=8.0), final_logit_softcapping=5.0,
        hidden_activation="gelu_pytorch_tanh", torch_dtype="bfloat16"), torch.bfloat16, 1),
    # half of a head turns, a window, and a switch in the middle of the prompt
    "phi3-partial": (dict(
        BASE, model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=80, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=72, hidden_act="silu", partial_rotary_factor=0.6, sliding_window=19, original_max_position_embeddings=40,
        tie_word_embeddings=False, rope_theta=300.0, torch_dtype="bfloat16",
        rope_scaling=dict(type="longrope", short_factor=[1 + 0.2 * i for i in range(6)], long_factor=[1.5 + 0.9 * i for i in range(6)])),
        torch.bfloat16, 1),
    # biases, five taps, attention last, an MLP that is not adjusted
    "lfm2-bias": (dict(
        BASE, model_type="lfm2", architectures=["Lfm2ForCausalLM"], num_hidden_layers=3, hidden_size=40, num_attention_heads=2,
        num_key_value_heads=1, block_ff_dim=68, block_auto_adjust_ff_dim=False, conv_bias=True, conv_L_cache=5, full_attn_idxs=[2],
        tie_embedding=True, norm_eps=1e-5, torch_dtype="bfloat16"), torch.bfloat16, 1),
    "lfm2-convolution": (dict(
        BASE, model_type="lfm2", architectures=["Lfm2ForCausalLM"], num_hidden_layers=2, hidden_size=36, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=120, block_multiple_of=20, block_ffn_dim_multiplier=1.3, conv_L_cache=2,
        layer_types=["full_attention", "conv"], tie_word_embeddings=False, dtype="bfloat16"), torch.bfloat16, 1),
}


def weights(model, gemma):
    """Random BF16 numbers, of a size at which features show."""
    g = torch.Generator().manual_seed(5)
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=g)
        if "norm" in name:
            x = 0.4 * x + (0.0 if gemma else 1.0)
        elif name.endswith("bias"):
            x = 0.5 * x
        elif "conv.conv" in name:
            x = 0.5 * x
        elif "embed_tokens" in name or "lm_head" in name:
            x = x * (0.3 if gemma else 1.0)
        else:
            x = x * 1.6 / p.shape[1] ** 0.5
        p.data = x.bfloat16().float()


def save(folder, model, dtype, shards):
    tensors = {n: t.to(dtype).contiguous() for n, t in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight")
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": {}}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in names[i::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index["weight_map"].update({n: file for n in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def golden(model, ids):
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    # The last entry comes after the final norm; hooks give the one before.
    seen = []
    hook = model.model.layers[-1].register_forward_hook(lambda m, a, o: seen.append(o[0] if isinstance(o, tuple) else o))
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    hook.remove()
    result = {"input_ids": torch.tensor(ids), "logits": out.logits[0].float().contiguous()}
    for i, h in enumerate(out.hidden_states[:-1]):
        result[f"hidden.{i}"] = h[0].float().contiguous()
    last = seen[0]
    result[f"hidden.{len(out.hidden_states) - 1}"] = (last[0] if last.dim() == 3 else last).float().contiguous()
    return result


def generate(model, ids, steps):
    """Greedy tokens and their logits; generate() computes a Phi-3 prompt anew
    where it becomes long."""
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), max_new_tokens=steps, min_new_tokens=steps, do_sample=False, output_logits=True,
                             return_dict_in_generate=True, eos_token_id=None, pad_token_id=0)
    logits = torch.stack([l[0] for l in out.logits]).float()
    return out.sequences[0, len(ids):].clone(), logits.contiguous()


def make(name):
    raw, dtype, shards = CASES[name]
    folder = HERE / name
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw, indent=1) + "\n")
    config = AutoConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    weights(model, raw["model_type"].startswith("gemma"))
    model.tie_weights()
    save(folder, model, dtype, shards)
    g = torch.Generator().manual_seed(9)
    ids = torch.randint(3, raw["vocab_size"], (48,), generator=g).tolist()
    for case, n in (("short", 7), ("long", 48)):
        values = golden(model, ids[:n])
        steps = 16
        if case == "short" and raw["model_type"] == "phi3":
            steps = 44  # across the switch
        values["greedy_ids"], logits = generate(model, ids[:n], steps)
        if case == "short":
            values["greedy_logits"] = logits
        save_file(values, folder / "golden" / f"{case}.safetensors")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{name}: {size} bytes, logits' deviation {values['logits'].std():.3f}")


for name in sys.argv[1:] or CASES:
    make(name)

"""Quantises a checkpoint with llm-compressor, in a Python that has it.

usage: compressor.py CHECKPOINT OUT RECIPE [IDS.npy]

RECIPE is JSON: method (RTN, GPTQ or AWQ), bits, group (0 for the channel) and
symmetric. IDS are the calibration tokens, [pieces, tokens]. OUT becomes a
packed checkpoint; the processor seconds that quantising took, without loading and
saving, are the last line that is printed. With the method "logits", OUT gets
transformers' logits of IDS instead.
"""

import json
import sys
import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def modifier(recipe):
    from llmcompressor.modifiers.awq import AWQModifier
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier

    weights = {"num_bits": recipe["bits"], "type": "int", "symmetric": recipe["symmetric"]}
    weights |= {"strategy": "group", "group_size": recipe["group"]} if recipe["group"] else {"strategy": "channel"}
    kind = {"RTN": QuantizationModifier, "GPTQ": GPTQModifier, "AWQ": AWQModifier}[recipe["method"]]
    return kind(config_groups={"all": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"])


def dataset(ids):
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": np.ones_like(ids).tolist()})


def main(checkpoint, out, recipe, ids=None):
    recipe = json.loads(recipe)
    torch.manual_seed(0)
    if recipe["method"] == "logits":
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            np.save(out, model(torch.tensor(np.load(ids))).logits.numpy())
        return
    from llmcompressor import oneshot

    if not torch.cuda.is_available():
        torch.Tensor.pin_memory = lambda tensor: tensor  # AWQ pins what it keeps, which needs a driver; values are the same
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    data = {}
    if recipe["method"] != "RTN":
        pieces = np.load(ids)
        data = {"dataset": dataset(pieces), "max_seq_length": pieces.shape[1], "num_calibration_samples": len(pieces)}
    start = time.process_time()
    oneshot(model=model, recipe=[modifier(recipe)], **data)
    seconds = time.process_time() - start
    model.save_pretrained(out, save_compressed=True)
    print(json.dumps({"cpu_seconds": seconds}))


main(*sys.argv[1:])

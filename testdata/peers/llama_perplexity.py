"""Perplexity as llama-perplexity computes it, by llama.cpp on a GGUF file.

usage: llama_perplexity.py MODEL.gguf TEXT [--window 512]

The text with its BOS is cut into windows, BOS takes the first place of each,
and the tokens behind the middle are scored. Compare with

  llima eval OUT --text TEXT --windows llama
"""

import argparse
import math

import llama_cpp
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf")
    parser.add_argument("text")
    parser.add_argument("--window", type=int, default=512)
    args = parser.parse_args()
    n = args.window
    model = llama_cpp.Llama(args.gguf, n_ctx=n, n_batch=n, logits_all=True, verbose=False)
    with open(args.text, "rb") as f:
        ids = model.tokenize(f.read(), add_bos=True)
    total, count = 0.0, 0
    for start in range(0, len(ids) - n + 1, n):
        window = [model.token_bos()] + ids[start + 1 : start + n]
        model.reset()
        model.eval(window)
        first = n // 2
        x = np.array(model.scores[first : n - 1], np.float64)
        x -= x.max(1, keepdims=True)
        log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
        total -= log_p[np.arange(n - 1 - first), window[first + 1 :]].sum()
        count += n - 1 - first
    print(f"{count} tokens, perplexity {math.exp(total / count):.4f}")


if __name__ == "__main__":
    main()

"""Compares logits of llima's emulator with llama.cpp's on the same GGUF file.

llama.cpp rounds activations to 8 bits where weights are quantised, so the two
differ by that much; llima keeps them in BF16.
"""

import argparse
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np


def log_softmax(x):
    x = x.astype(np.float64) - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("llima", help="the llima program")
    parser.add_argument("out", help="an output built from the file, with return_logits")
    parser.add_argument("gguf", help="the file")
    parser.add_argument("text", help="a text")
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    model = llama_cpp.Llama(args.gguf, n_ctx=args.tokens + 8, logits_all=True, verbose=False)
    with open(args.text, "rb") as f:
        ids = model.tokenize(f.read(), add_bos=False)[: args.tokens]
    model.eval(ids)
    want = np.array(model.scores[: len(ids)])
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        command = [args.llima, "run", args.out, "--ids", ",".join(map(str, ids)), "--max-tokens", "0", "--logits", file.name, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        got = np.load(file.name)[: len(ids)]
    p, q = log_softmax(want), log_softmax(got)
    difference = np.abs(got - want)
    print(f"tokens {len(ids)}")
    print(f"mean difference {difference.mean():.4f}, {100 * difference.mean() / want.std():.2f} % of the standard deviation; largest {difference.max():.3f}")
    print(f"KL {(np.exp(p) * (p - q)).sum(1).mean():.5f}, same top-1 {100 * (got.argmax(1) == want.argmax(1)).mean():.1f} %")


if __name__ == "__main__":
    main()

"""Compares the speed of llima's emulator with llama.cpp on the same CPU.

All files are of the same model. Contenders take turns, each run is a process
of its own, both get the same token ids, and both start from files in the page
cache. Figures are medians, in tokens a second: of the prompt until its last
logits are there, and of greedy decoding after it.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time


def prompt_ids(n):
    return [(i * 7919 + 13) % 40000 + 100 for i in range(n)]


def ours(llima, out, threads, prompt, tokens):
    """Runs llima once: (prefill, decode)."""
    command = [llima, "run", out, "--ids", ",".join(map(str, prompt_ids(prompt)))]
    command += ["--greedy", "--ignore-eos", "--max-tokens", str(tokens)]
    done = subprocess.run(command, env={**os.environ, "GOMAXPROCS": str(threads)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    first = re.search(r"first token after ([\d.]+) ms", done.stderr)
    rate = re.search(r"(\d+) tokens, ([\d.]+) tok/s", done.stderr)
    if not first or not rate or int(rate[1]) != tokens:
        sys.exit("cannot read llima's figures:\n" + done.stderr)
    return prompt * 1000 / float(first[1]), float(rate[2])


def llama(path, threads, prompt, tokens):
    """Runs llama.cpp once, in another process: (prefill, decode)."""
    child = [sys.executable, __file__, "--child", path, str(threads), str(prompt), str(tokens)]
    done = subprocess.run(child, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def child(path, threads, prompt, tokens):
    import llama_cpp
    import numpy as np

    llm = llama_cpp.Llama(path, n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    vocab = llm.n_vocab()

    def feed(ids):
        """Feeds ids and returns the most likely next one."""
        array = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(llm.ctx, llama_cpp.llama_batch_get_one(array, len(ids))):
            sys.exit("llama_decode")
        return int(np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llm.ctx, -1), (vocab,)).argmax())

    start = time.perf_counter()
    token = feed(prompt_ids(prompt))
    first = time.perf_counter()
    for _ in range(tokens - 1):
        token = feed([token])
    end = time.perf_counter()
    print(json.dumps([prompt / (first - start), (tokens - 1) / (end - first)]))


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], *map(int, sys.argv[3:]))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("llima", help="the llima binary")
    p.add_argument("gguf", help="a folder that llama_gguf.py wrote")
    p.add_argument("mixed", help="an output of llima with INT4 decode")
    p.add_argument("bf16", help="an output of llima in BF16")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    p.add_argument("--tokens", type=int, default=128, help="tokens to decode")
    p.add_argument("--threads", default="1,2", help="numbers of threads, with commas")
    a = p.parse_args()
    contenders = {
        "llima INT4": lambda *n: ours(a.llima, a.mixed, *n),
        "llama.cpp Q4_0": lambda *n: llama(os.path.join(a.gguf, "q4_0.gguf"), *n),
        "llima BF16": lambda *n: ours(a.llima, a.bf16, *n),
        "llama.cpp BF16": lambda *n: llama(os.path.join(a.gguf, "bf16.gguf"), *n),
    }
    for threads in map(int, a.threads.split(",")):
        figures = {name: [] for name in contenders}
        for _ in range(a.runs):
            for name, run in contenders.items():
                figures[name].append(run(threads, a.prompt, a.tokens))
        median = {name: [statistics.median(x) for x in zip(*f)] for name, f in figures.items()}
        print(f"{threads} thread(s), prompt of {a.prompt}, {a.tokens} decoded, medians of {a.runs}")
        for name, (prefill, decode) in median.items():
            best = max(x[0] for x in figures[name]), max(x[1] for x in figures[name])
            print(f"  {name:16} prefill {prefill:7.0f} (best {best[0]:.0f})  decode {decode:6.1f} (best {best[1]:.1f})")
        for us, them in (("llima INT4", "llama.cpp Q4_0"), ("llima BF16", "llama.cpp BF16"), ("llima INT4", "llama.cpp BF16")):
            ratios = [median[us][i] / median[them][i] for i in range(2)]
            print(f"  {us} / {them}: prefill {ratios[0]:.2f}, decode {ratios[1]:.2f}")


main()

"""What llima eval prints, computed a second time: by numpy in float64, from
tokens of the tokenizers library and logits that llima run wrote.

  figures.py windows TOKENIZER TEXT TOKENS all|llama
      prints the windows as JSON: [[ids...], ...]
  figures.py figures WINDOWS.json FOLDER REFERENCE_FOLDER all|llama
      reads FOLDER/N.npy of window N, [T, V] float32, and prints the figures
"""

import json
import math
import sys

import numpy as np


def windows(tokenizer, text, tokens, layout):
    from tokenizers import Tokenizer

    tok = Tokenizer.from_file(tokenizer)
    with open(text, encoding="utf-8") as f:
        ids = tok.encode(f.read(), add_special_tokens=False).ids
    bos = tok.encode("").ids
    out = []
    if layout == "all":
        step = tokens - len(bos)
        for i in range(len(ids) // step):
            out.append(bos + ids[i * step : (i + 1) * step])
    else:
        ids = bos + ids
        for i in range(len(ids) // tokens):
            out.append(bos + ids[i * tokens : (i + 1) * tokens][len(bos) :])
    return out


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def student(freedom):
    """The 97.5 % quantile of Student's t, by integrating its density."""
    density = lambda t: (1 + t * t / freedom) ** (-(freedom + 1) / 2)
    c = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    t = np.linspace(0, 20, 2_000_001)
    area = 0.5 + c * np.concatenate([[0], np.cumsum((density(t[1:]) + density(t[:-1])) / 2 * np.diff(t))])
    return float(t[np.searchsorted(area, 0.975)])


def interval(means):
    if len(means) < 2:
        return None
    half = student(len(means) - 1) * np.std(means, ddof=1) / math.sqrt(len(means))
    return [float(np.mean(means) - half), float(np.mean(means) + half)]


def figures(list_of_ids, folder, reference, layout):
    nll, base, kl, same = [], [], [], []
    for i, ids in enumerate(list_of_ids):
        first = 0 if layout == "all" else len(ids) // 2
        q = log_softmax(np.load(f"{folder}/{i}.npy"))[first:-1]
        p = log_softmax(np.load(f"{reference}/{i}.npy"))[first:-1]
        target = np.array(ids[first + 1 :])
        rows = np.arange(len(target))
        nll.append(-q[rows, target])
        base.append(-p[rows, target])
        kl.append((np.exp(p) * (p - q)).sum(axis=1))
        same.append(p.argmax(axis=1) == q.argmax(axis=1))
    of = lambda parts: [float(x.mean()) for x in parts]
    all_kl = np.concatenate(kl)
    reference_perplexity = math.exp(np.concatenate(base).mean())
    ratio = interval([a - b for a, b in zip(of(nll), of(base))])
    return {
        "tokens": len(all_kl),
        "perplexity": math.exp(np.concatenate(nll).mean()),
        "perplexity_ci95": [math.exp(v) for v in interval(of(nll))],
        "reference": {"perplexity": reference_perplexity},
        "perplexity_delta_ci95": [reference_perplexity * math.expm1(v) for v in ratio],
        "kl": {
            "mean": float(all_kl.mean()),
            "mean_ci95": interval(of(kl)),
            "p99": float(np.quantile(all_kl, 0.99)),
            "max": float(all_kl.max()),
        },
        "same_top1": 100 * float(np.concatenate(same).mean()),
    }


if sys.argv[1] == "windows":
    print(json.dumps(windows(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])))
else:
    with open(sys.argv[2]) as f:
        print(json.dumps(figures(json.load(f), *sys.argv[3:6])))

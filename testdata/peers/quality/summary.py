"""Means, intervals and ratios of what measure.py kept."""

import numpy as np

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = {7: 2.365, 69: 1.995}

# llima's row, and the rows that it is held against: tool/method/format.
PAIRS = [
    ("nearest/INT4 g32", "llm-compressor/RTN/INT4 g32"),
    ("search/INT4 g32", "llama.cpp/plain/Q4_0"),
    ("search/INT4 g32", "llama.cpp/plain/IQ4_NL"),
    ("search/INT4 g32", "llama.cpp/plain/Q4_K_S"),
    ("search/INT4 g32", "llm-compressor/RTN/INT4 g32"),
    ("calibrated (self)/INT4 g32", "llama.cpp/plain/Q4_K_S"),
    ("calibrated (self)/INT4 g32", "llm-compressor/GPTQ/INT4 g32"),
    ("calibrated/INT4 g32", "llm-compressor/GPTQ/INT4 g32"),
    ("calibrated/INT4 g32", "llm-compressor/AWQ/INT4 g32"),
    ("calibrated/INT4 g32", "llama.cpp/imatrix/Q4_K_S"),
    ("calibrated/INT4 g32", "llama.cpp/plain/Q5_0"),
    ("calibrated/INT4 g64", "llm-compressor/GPTQ/INT4 g64"),
    ("calibrated/INT4 g64", "llm-compressor/AWQ/INT4 g64"),
    ("calibrated/INT4 g128", "llm-compressor/GPTQ/INT4 g128"),
    ("calibrated/INT4 g128", "llm-compressor/AWQ/INT4 g128"),
    ("nearest/INT8 channel", "llm-compressor/RTN/INT8 channel"),
    ("nearest/INT8 channel", "llm-compressor/GPTQ/INT8 channel"),
    ("calibrated/INT8 channel", "llm-compressor/GPTQ/INT8 channel"),
    ("nearest/INT8 g32", "llama.cpp/plain/Q8_0"),
]


def interval(values):
    """The mean of windows and half its 95 % interval, by Student's t."""
    v = np.asarray(values)
    return v.mean(), STUDENT[len(v) - 1] * v.std(ddof=1) / np.sqrt(len(v))


def ratio(a, b):
    """The ratio of two means over the same windows, and half its 95 % interval (linearised)."""
    a, b = np.asarray(a), np.asarray(b)
    r = a.mean() / b.mean()
    return r, interval((a - r * b) / b.mean())[1]


def results(found):
    return {name: model(m) for name, m in found.items()}


def model(m):
    rows = {r["key"]: r for r in m["rows"]}
    out = []
    for r in sorted(m["rows"], key=lambda r: (r["bits"], r["key"])):
        row = {k: r[k] for k in ("tool", "method", "format", "bits", "cpu_seconds", "types", "weights", "own") if k in r}
        if "own" in row:
            row["own"]["float"] = float(np.mean(r["texts"]["tempest"]["kl"][: row["own"]["windows"]]))  # the same windows through reference.py
        row["texts"] = {}
        for key, t in r["texts"].items():
            mean, half = interval(t["kl"])
            row["texts"][key] = {"kl": mean, "half": half, **{k: t[k] for k in ("p99", "max", "same_top1", "perplexity")}}
        out.append(row)
    pairs = []
    for ours, theirs in PAIRS:
        a, b = rows.get("llima/" + ours), rows.get(theirs)
        if a and b:
            pairs.append({"llima": ours, "peer": theirs, "ratios": {k: list(map(float, ratio(a["texts"][k]["kl"], b["texts"][k]["kl"]))) for k in a["texts"]}})
    return {"settings": m["settings"], "perplexity": m["perplexity"], "rows": out, "pairs": pairs}


def table(document):
    lines = []
    for name, m in document.items():
        lines.append(f"{name}  perplexity {m['perplexity']}")
        for r in m["rows"]:
            cells = "  ".join(f"{k} {t['kl']:.5f} ±{t['half']:.5f} {100 * t['same_top1']:.1f} % ppl {t['perplexity']:.3f}" for k, t in r["texts"].items())
            lines.append(f"  {r['bits']:.3f}  {r['tool']:15} {r['method']:18} {r['format']:22} {cells}  {r['cpu_seconds']:.1f} s")
        for p in m["pairs"]:
            lines.append(f"  llima {p['llima']:30} : {p['peer']:35} " + "  ".join(f"{k} {a:.3f} ±{h:.3f}" for k, (a, h) in p["ratios"].items()))
    return "\n".join(lines)

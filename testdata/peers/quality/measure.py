"""Measures what quantisers lose and take: llima, llama.cpp and llm-compressor.

Every contender quantises the matrices of the layers of one checkpoint;
embeddings, head and norms stay as they are. Its weights, dequantised by the
definition of its format, go through one float32 forward (reference.py), and
are compared with the checkpoint's at every position of held-out texts.
Windows begin with BOS. Needs numpy, gguf, onnx, tokenizers and
llama-cpp-python; llm-compressor runs in a Python of its own.

What is measured is kept in WORK, one JSON a row; a row is measured again
where it is not there or was measured under other settings. llima's rows are
built again where the program is another one. --publish gathers the rows.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import pathlib
import subprocess

# Before numpy is loaded: a second thread that waits counts as processor time.
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")

import contenders
import numpy as np
import summary
import tokenizers
from reference import Llama, loss

ROOT = pathlib.Path(__file__).resolve().parents[3]
WINDOW = 512

# How many windows of each text are scored at most, and how many pieces of 512 tokens calibrate.
MODELS = {
    "bard-3m": {"windows": 70, "samples": 128},
    "SmolLM2-135M-Instruct": {"windows": 8, "samples": 16},
}


def opticks():
    """The first book of Newton's Opticks, of 1704, which Go's own tests read."""
    root = subprocess.run(["go", "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip()
    text = (pathlib.Path(root) / "src/testdata/Isaac.Newton-Opticks.txt").read_text(encoding="utf-8")
    return text[text.index("_DEFINITIONS_") :][:120000]


class Bench:
    """A model, its texts in windows, and what the model says of them."""

    def __init__(self, name, folder, work):
        self.name, self.work, self.settings = name, work / name, MODELS[name]
        self.model = Llama(folder)
        self.tokenizer = tokenizers.Tokenizer.from_file(str(self.model.folder / "tokenizer.json"))
        self.text_files, self.windows, self.base = {}, {}, {}
        (self.work / "rows").mkdir(parents=True, exist_ok=True)
        tempest = (ROOT / "testdata/text/eval-tempest.txt").read_text(encoding="utf-8")
        for key, text in {"tempest": tempest, "opticks": opticks()}.items():
            self.windows[key] = self.cut(text)[: self.settings["windows"]]
            self.text_files[key] = self.work / f"{key}.txt"
            self.text_files[key].write_text(self.shorten(text, self.windows[key].size), encoding="utf-8")
        pieces = self.cut((ROOT / "testdata/text/calibration.txt").read_text(encoding="utf-8"))
        self.calibration = pieces[np.linspace(0, len(pieces) - 1, self.settings["samples"]).astype(int)]

    def cut(self, text):
        """Windows of BOS and the next 511 tokens; what does not fill one is left out."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        step = WINDOW - 1
        rows = np.array(ids[: len(ids) // step * step]).reshape(-1, step)
        return np.concatenate([np.full((len(rows), 1), self.model.config["bos_token_id"]), rows], 1)

    def shorten(self, text, tokens):
        """A beginning of a text that has so many tokens, and too few more to fill a window."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return text[: offsets[min(tokens, len(offsets)) - 1][1]]

    def hidden(self, key, weights):
        """What the head reads, window by window."""
        for ids in self.windows[key]:
            yield self.model.hidden(ids[None], weights)[0]

    def reference(self, key):
        """What the head reads of the checkpoint itself, computed once."""
        if key not in self.base:
            path = self.work / f"{key}.{self.digest(self.windows[key])[:16]}.npy"
            if not path.exists():
                np.save(path, np.array(list(self.hidden(key, None))))
            self.base[key] = np.load(path)
        return self.base[key]

    @staticmethod
    def digest(*arrays):
        h = hashlib.sha256()
        for a in arrays:
            h.update(np.ascontiguousarray(a))
        return h.hexdigest()

    def score(self, logits):
        """The figures of each text. logits(key) yields, window by window, what gives the logits of a slice of positions."""
        return {key: self.text(key, logits(key)) for key in self.windows}

    def text(self, key, logits):
        kl, same, nll = [], [], []
        for ids, h, got in zip(self.windows[key], self.reference(key), logits):
            a, b, c = loss(lambda s, h=h: h[s] @ self.model.head.T, got, ids[1:])
            kl.append(a)
            same.append(b)
            nll.append(c)
        kl = np.array(kl)
        return {
            "kl": kl.mean(1).tolist(),  # of each window
            "p99": float(np.quantile(kl, 0.99)),
            "max": float(kl.max()),
            "same_top1": float(np.mean(same)),
            "perplexity": float(np.exp(np.mean(nll))),
        }

    def evaluate(self, weights):
        def logits(key):
            for h in self.hidden(key, weights):
                yield lambda s, h=h: h[s] @ self.model.head.T

        return self.score(logits)

    def perplexity(self):
        """The checkpoint's own, by text."""
        path = self.work / f"perplexity.{self.digest(*self.windows.values())[:16]}.json"
        if not path.exists():
            path.write_text(json.dumps({k: t["perplexity"] for k, t in self.evaluate({}).items()}) + "\n")
        return json.loads(path.read_text())

    def conditions(self, calibrated):
        out = {"texts": {k: self.digest(w) for k, w in self.windows.items()}}
        if calibrated:
            out["calibration"] = self.digest(self.calibration)
        return out


def measure(bench, row, args):
    """Measures a row, or what of it is not known yet."""
    path = bench.work / "rows" / (row.key.replace("/", "_").replace(" ", "_") + ".json")
    conditions = {**bench.conditions(row.calibrated), **row.conditions(args)}
    old = json.loads(path.read_text()) if path.exists() else {}
    if old.get("conditions") == conditions:
        return old
    print(f"{bench.name}: {row.key}", flush=True)
    weights, figures = row.make(bench, args)
    digest = bench.digest(*(weights[k] for k in sorted(weights)))
    same = old.get("weights") == digest and old["conditions"]["texts"] == conditions["texts"]
    figures |= {"key": row.key, "tool": row.tool, "method": row.method, "format": row.format, "bits": weights.bits_per_weight()}
    figures |= {"conditions": conditions, "weights": digest, "texts": old["texts"] if same else bench.evaluate(weights)}
    path.write_text(json.dumps(figures, indent=1) + "\n")
    t = figures["texts"]["tempest"]
    print(f"  {figures['bits']:.3f} bits, KL {np.mean(t['kl']):.5f}, top-1 {t['same_top1']:.4f}, {figures['cpu_seconds']:.1f} s", flush=True)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path, help="folder for what is measured")
    parser.add_argument("--llima", help="the llima program")
    parser.add_argument("--compressor", help="a Python that has llm-compressor")
    parser.add_argument("--smollm2", help="the folder that testdata/real/smollm2 prints; without it only bard-3m is measured")
    parser.add_argument("--only", nargs="*", default=["*"], help="rows to measure, MODEL/TOOL/METHOD/FORMAT with * and ?")
    parser.add_argument("--publish", action="store_true", help="gather all rows into results.json")
    args = parser.parse_args()
    folders = {"bard-3m": ROOT / "testdata/models/bard-3m"}
    if args.smollm2:
        folders["SmolLM2-135M-Instruct"] = args.smollm2
    if args.llima:
        args.llima = os.path.abspath(args.llima)
    found = {}
    for name, folder in folders.items():
        bench = Bench(name, folder, args.work.resolve())
        rows = [r for r in contenders.rows(bench) if any(fnmatch.fnmatch(f"{name}/{r.key}", o) for o in args.only)]
        measured = [measure(bench, r, args) for r in rows if r.possible(args)]
        if args.publish:
            measured = [json.loads(p.read_text()) for p in sorted((bench.work / "rows").glob("*.json"))]
        if measured:
            contenders.check(bench, args)
            found[name] = {"settings": bench.settings, "perplexity": bench.perplexity(), "rows": measured}
    document = summary.results(found)
    print(summary.table(document))
    if args.publish:
        (pathlib.Path(__file__).parent / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

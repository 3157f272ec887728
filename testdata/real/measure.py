#!/usr/bin/env python3
"""Builds a real model in BF16 and in two precisions, asks both for the capital
of France, and prints the tables of docs/performance.md.

usage: measure.py LLIMA CHECKPOINT [RUNS]

LLIMA is the program, CHECKPOINT the folder that testdata/real/smollm2 prints.
Each run builds each model from nothing in a folder of its own; of several runs
the range is printed. It fails where a model does not name Paris, or where a
second build has anything to do. Needs Linux, for the peaks of memory.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PROJECT = pathlib.Path(__file__).parents[2] / "examples/smollm2/llima.hcl"
MODELS = {"smollm2-bf16": "BF16", "smollm2-mixed": "INT8 prefill, INT4 decode (groups of 32)"}
STAGES = ["devkit", "onnx", "quantize", "compile", "mpk", "package"]
QUESTION = "What is the capital of France?"
TOKENS = 48


def measure(*command):
    """Runs a command: seconds, seconds of CPU, MiB resident at most, MiB of that which are no
    file's at most (sampled every 10 ms), standard output and error."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    anonymous = 0

    def sample():
        nonlocal anonymous
        while child.returncode is None:
            try:
                status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
            except OSError:
                return
            if found := re.search(r"RssAnon:\s*(\d+) kB", status):
                anonymous = max(anonymous, int(found[1]))
            time.sleep(0.01)

    output = {}

    def drain(name):
        output[name] = getattr(child, name).read()

    threads = [threading.Thread(target=sample)] + [threading.Thread(target=drain, args=(n,)) for n in ("stdout", "stderr")]
    for t in threads:
        t.start()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    for t in threads:
        t.join()
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {child.returncode}\n{output['stderr']}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, anonymous / 1024, output["stdout"], output["stderr"]


def size_bytes(folder):
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def stage_seconds(log):
    """Seconds of each stage, summed over the targets that a build's log lists;
    how many those are; and how many the build has: what a target made serves
    others with the same key."""
    sums = dict.fromkeys(STAGES, 0.0)
    counts = dict.fromkeys(STAGES, 0)
    for stage, wall in re.findall(r"^\[\d+/\d+\] [^:\s]+:([a-z]+)\S*\s+([\d.]+)s$", log, re.MULTILINE):
        sums[stage] += float(wall)
        counts[stage] += 1
    total = re.search(r"^\[\d+/(\d+)\]", log, re.MULTILINE)[1]
    return sums, counts, total


def one(llima, checkpoint, model, folder):
    """The figures of one model, built from nothing in an empty folder."""
    shutil.copy(PROJECT, folder)
    build = (llima, "build", "-C", str(folder), "--var", f"source={checkpoint}", "--progress=plain", "-j2", model)
    seconds, cpu, resident, anonymous, _, log = measure(*build)
    stages, counts, total = stage_seconds(log)
    out = folder / "out" / model
    again, _, _, _, _, nothing = measure(*build)
    if not nothing.startswith("nothing to do"):
        sys.exit(f"{model}: a second build has something to do:\n{nothing}")
    run = (llima, "run", str(out), QUESTION, "--greedy", "--json")
    answer = json.loads(measure(*run, "--max-tokens=32")[4])["text"]
    print(f"{model}: {answer.strip()}", file=sys.stderr)
    if "Paris" not in answer:
        sys.exit(f"{model} does not name Paris")
    _, _, run_resident, _, text, _ = measure(*run, f"--max-tokens={TOKENS}", "--ignore-eos")
    doc = json.loads(text)
    clock = doc["time"]
    figures = {
        f"build from nothing, all {total} targets": (seconds, "{:.1f}", " s"),
        "… processor time": (cpu, "{:.1f}", " s"),
        "… peak resident": (resident, "{:.0f}", " MiB"),
        "… peak of memory that is no file's": (anonymous, "{:.0f}", " MiB"),
        "build with nothing to do": (again * 1000, "{:.0f}", " ms"),
        "`sima_files/elf_files`": (size_bytes(out / "sima_files/elf_files") / 1e6, "{:.0f}", " MB"),
        "whole output, as files state their sizes": (size_bytes(out) / 1e6, "{:.0f}", " MB"),
        "open the output": (clock["load_ms"] / 1000, "{:.2f}", " s"),
        f"first token, {len(doc['prompt_ids'])} prompt tokens": (clock["ttft_ms"] / 1000, "{:.2f}", " s"),
        f"decode, {len(doc['ids'])} tokens": (clock["tok_per_s"], "{:.0f}", " tok/s"),
        "peak resident of `llima run`": (run_resident, "{:.0f}", " MiB"),
    }
    return figures, {f"{s} | {counts[s]}": (stages[s], "{:.2f}", "") for s in STAGES}


def cell(values):
    """The range of a figure over the runs."""
    form, unit = values[0][1:]
    low, high = (form.format(f(v[0] for v in values)) for f in (min, max))
    return (low if low == high else f"{low}–{high}") + unit


def table(head, runs):
    """runs: by model, a list of rows by label."""
    lines = [head + "".join(f" | {MODELS[m]}" for m in runs), " | ".join(["---"] * (head.count("|") + 1 + len(runs)))]
    for label in next(iter(runs.values()))[0]:
        lines.append(f"{label} | " + " | ".join(cell([r[label] for r in rows]) for rows in runs.values()))
    return "\n".join(f"| {line} |" for line in lines)


def main(llima, checkpoint, runs="1"):
    figures, stages = {}, {}
    for model in MODELS:
        for _ in range(int(runs)):
            with tempfile.TemporaryDirectory(prefix="llima-measure-") as folder:
                f, s = one(os.path.abspath(llima), os.path.abspath(checkpoint), model, pathlib.Path(folder))
            figures.setdefault(model, []).append(f)
            stages.setdefault(model, []).append(s)
    print(table("two jobs", figures) + "\n\nSeconds of each stage, summed over its targets:\n\n" + table("stage | targets run", stages))


if __name__ == "__main__":
    main(*sys.argv[1:])

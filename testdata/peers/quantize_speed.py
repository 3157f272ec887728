"""Compares how fast llima and llama.cpp quantise the same BF16 model.

From file to file, on the same CPU; llama.cpp reads the bf16.gguf that
llama_gguf.py wrote, llima the safetensors file with the same matrices. Both
give embeddings 8 bits. Contenders take turns, each run a process of its own,
its start not counted, and both files lie in the page cache. Figures are
medians of seconds, and gigabytes of BF16 weights a second.

usage: go build -o quantize ./testdata/peers/quantize
       quantize_speed.py ./quantize MODEL.safetensors BF16.gguf FOLDER

FOLDER, for results that are deleted again, should be on the disk that counts.
"""

import argparse
import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import time


def weight_bytes(path):
    """Returns the size of all matrices of a safetensors file."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    sizes = [t["data_offsets"] for name, t in header.items() if name != "__metadata__" and len(t["shape"]) == 2]
    return sum(end - begin for begin, end in sizes)


def run(command, threads):
    """Runs a contender once: its seconds."""
    done = subprocess.run(command, env={**os.environ, "GOMAXPROCS": str(threads)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.split()[-1])


def child(source, out, kind, threads):
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind)
    params.nthread = threads
    start = time.perf_counter()
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)):
        sys.exit("llama.cpp did not quantise")
    print(time.perf_counter() - start)


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(*sys.argv[2:5], int(sys.argv[5]))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("quantize", help="the program of testdata/peers/quantize")
    p.add_argument("model", help="a safetensors file in BF16")
    p.add_argument("gguf", help="the same model as GGUF in BF16")
    p.add_argument("folder", help="where results go")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--threads", default="1,2", help="numbers of threads, with commas")
    a = p.parse_args()
    out = os.path.join(a.folder, "quantised")
    ours = {
        "INT4 g32 nearest": ["-bits", "4"],
        "INT4 g32 search": ["-bits", "4", "-search"],
        "INT4 g128 search": ["-bits", "4", "-group", "128", "-search"],
        "INT8 nearest": ["-bits", "8", "-group", "0"],
        "INT8 search": ["-bits", "8", "-group", "0", "-search"],
        "INT8 g32 nearest": ["-bits", "8"],
        "INT8 g32 search": ["-bits", "8", "-search"],
    }
    peers = ("Q4_0", "Q8_0", "Q4_K_S")
    ratios = (("INT4 g32 nearest", "Q4_0"), ("INT4 g32 search", "Q4_K_S"), ("INT8 g32 nearest", "Q8_0"), ("INT8 g32 search", "Q8_0"))
    total = weight_bytes(a.model)
    for threads in map(int, a.threads.split(",")):
        contenders = {name: [a.quantize, *args, "-jobs", str(threads), a.model, out] for name, args in ours.items()}
        for kind in peers:
            contenders[kind] = [sys.executable, __file__, "--child", a.gguf, out, kind, str(threads)]
        seconds = {name: [] for name in contenders}
        for _ in range(a.runs):
            for name, command in contenders.items():
                if os.path.exists(out):
                    os.remove(out)
                seconds[name].append(run(command, threads))
        os.remove(out)
        median = {name: statistics.median(s) for name, s in seconds.items()}
        print(f"{threads} thread(s), {total / 1e6:.0f} MB of BF16, medians of {a.runs}")
        for name, m in median.items():
            print(f"  {name:18} {m:6.3f} s (best {min(seconds[name]):.3f})  {total / m / 1e9:5.2f} GB/s")
        for us, them in ratios:
            print(f"  {us} / {them}: {median[them] / median[us]:.1f} times as fast")


main()

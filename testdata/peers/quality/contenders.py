"""The rows of the comparison: who quantises, how, and how to run it."""

import ctypes
import dataclasses
import hashlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import llama_cpp
import numpy as np
import weights
from reference import loss

CALIBRATION = pathlib.Path(__file__).resolve().parents[3] / "testdata/text/calibration.txt"

OWN = 4  # windows of the first text that a contender's own forward is also shown


def rows(bench):
    """All rows of a model."""
    widths = [bench.model.tensors[n].shape[1] for n in bench.model.matrices]
    fits = [g for g in (32, 64, 128) if all(w % g == 0 for w in widths)]  # llm-compressor has no shorter last group
    out = [Llama(t, False) for t in ("Q4_0", "Q4_1", "IQ4_NL", "Q4_K_S", "Q5_0", "Q8_0")]
    out += [Llama(t, True) for t in ("Q4_0", "IQ4_NL", "Q4_K_S")]
    out += [Compressor(m, 4, g, True) for m in ("RTN", "GPTQ", "AWQ") for g in fits if g != 64 or 128 not in fits]
    out += [Compressor("AWQ", 4, fits[-1], False)]
    out += [Compressor(m, 8, 0, True) for m in ("RTN", "GPTQ")]
    for method in ("nearest", "search", "calibrated", "calibrated (self)"):
        out += [Llima(method, 4, g) for g in (32, 64, 128, 0)]
        out += [Llima(method, 8, g) for g in (0, 128, 32)]
    return out


def group_name(group):
    return f"g{group}" if group else "channel"


@dataclasses.dataclass
class Llama:
    """llama.cpp's own quantiser, with the embeddings and the head kept in BF16."""

    type: str
    imatrix: bool
    tool = "llama.cpp"

    def __post_init__(self):
        self.method, self.format, self.calibrated = "imatrix" if self.imatrix else "", self.type, self.imatrix
        self.key = f"{self.tool}/{self.method or 'plain'}/{self.format}"

    def possible(self, _):
        return True

    def conditions(self, _):
        return {"llama-cpp-python": llama_cpp.__version__, "own": OWN}

    def make(self, bench, _):
        source = gguf_source(bench)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/{self.type}.gguf"
            p = llama_cpp.llama_model_quantize_default_params()
            p.ftype, p.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{self.type}"), 2
            p.token_embedding_type = p.output_tensor_type = 30  # GGML_TYPE_BF16
            if self.imatrix:
                entries = importance(bench)
                p.imatrix = ctypes.cast(entries, type(p.imatrix))
            seconds = quickest(lambda: quantize(source, path, p), time.process_time)
            w = weights.read_gguf(bench.model, path)
            own = own_loss(bench, source, path)
        return w, {"cpu_seconds": seconds, "types": w.types, "own": own}


def quickest(run, clock):
    """The least processor time of three runs, of fewer where they are long."""
    times = []
    while len(times) < 3 and sum(times) < 20:
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


def children():
    """Processor time of all programs that were run and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@llama_cpp.llama_log_callback
def quiet(level, text, data):
    """Takes what llama.cpp would print."""


llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))


def quantize(source, path, params):
    if llama_cpp.llama_model_quantize(str(source).encode(), path.encode(), ctypes.byref(params)):
        sys.exit("llama.cpp did not quantise")


def gguf_source(bench):
    path = bench.work / "bf16.gguf"
    if not path.exists():
        weights.write_gguf(bench.model, path)
    return path


def importance(bench):
    """Mean squares of each matrix's inputs over the calibration text, ended by an entry without a name."""
    sums, tokens = {}, bench.calibration.size

    def see(name, x):
        sums[name] = sums.get(name, 0) + (x.astype(np.float64) ** 2).sum((0, 1))

    for ids in bench.calibration:
        bench.model.hidden(ids[None], see=see)
    entries = (llama_cpp.llama_model_imatrix_data * (len(sums) + 1))()
    for entry, (name, s) in zip(entries, sums.items()):
        entry.name, entry.size = weights.ggml_name(name).encode(), len(s)
        entry.data = (ctypes.c_float * len(s))(*(s / tokens).tolist())
    return entries


def own_loss(bench, source, path):
    """KL of the first windows as llama.cpp computes them, which rounds activations to 8 bits: against its own BF16."""
    contexts = [llama_cpp.Llama(str(p), n_ctx=512, n_batch=512, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False) for p in (source, path)]
    found = []
    for ids in bench.windows["tempest"][:OWN]:
        logits = []
        for c in contexts:
            c.reset()
            c.eval(ids.tolist())
            logits.append(np.array(c.scores[: len(ids)]))
        found.append(loss(lambda s: logits[0][s], lambda s: logits[1][s], ids[1:])[0].mean())
    for c in contexts:
        c.close()
    return {"windows": OWN, "kl": float(np.mean(found))}


@dataclasses.dataclass
class Compressor:
    """llm-compressor."""

    method: str
    bits: int
    group: int
    symmetric: bool
    tool = "llm-compressor"

    def __post_init__(self):
        self.format = f"INT{self.bits} {group_name(self.group)}" + ("" if self.symmetric else " asymmetric")
        self.calibrated = self.method != "RTN"
        self.key = f"{self.tool}/{self.method}/{self.format}"

    def possible(self, args):
        return args.compressor

    def conditions(self, args):
        command = [args.compressor, "-c", "from importlib.metadata import version as v; print(v('llmcompressor'))"]
        return {"llmcompressor": subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}

    def make(self, bench, args):
        recipe = {"method": self.method, "bits": self.bits, "group": self.group, "symmetric": self.symmetric}
        with tempfile.TemporaryDirectory() as folder:
            printed = compressor(args, bench, f"{folder}/out", recipe, bench.calibration)
            w = weights.read_compressed(bench.model, f"{folder}/out")
        return w, json.loads(printed.splitlines()[-1])


def compressor(args, bench, out, recipe, ids):
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, ids)
        file.flush()
        script = pathlib.Path(__file__).parent / "compressor.py"
        command = [args.compressor, script, bench.model.folder, out, json.dumps(recipe), file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def check(bench, args):
    """Holds the forward to transformers on a window of the model's own weights."""
    if not args.compressor or (bench.work / "checked").exists():
        return
    ids = bench.windows["tempest"][:1]
    with tempfile.TemporaryDirectory() as folder:
        compressor(args, bench, f"{folder}/logits.npy", {"method": "logits"}, ids)
        want = np.load(f"{folder}/logits.npy")[0]
    got = bench.reference("tempest")[0] @ bench.model.head.T
    apart = float(np.abs(got - want).max())
    if not apart < 1e-3:
        sys.exit(f"{bench.name}: logits are {apart} from those of transformers")
    (bench.work / "checked").write_text(f"{apart}\n")


@dataclasses.dataclass
class Llima:
    """llima, through its configuration and what a build writes."""

    method: str
    bits: int
    group: int
    tool = "llima"

    def __post_init__(self):
        self.format = f"INT{self.bits} {group_name(self.group)}"
        self.calibrated = self.method.startswith("calibrated")
        self.key = f"{self.tool}/{self.method}/{self.format}"

    def possible(self, args):
        return args.llima

    def conditions(self, args):
        return {"llima": hashlib.sha256(pathlib.Path(args.llima).read_bytes()).hexdigest()}

    def project(self, bench):
        """The configuration: the model, and itself in BF16."""
        group = f'"{group_name(0)}"' if not self.group else self.group
        method = self.method.split()[0]
        dataset = "self" if "self" in self.method else CALIBRATION
        calibration = f"""
  calibration {{
    dataset = "{dataset}"
    samples = {bench.settings["samples"]}
    seq_len = 512
  }}"""
        return f"""
model "b" {{
  source = "{bench.model.folder.resolve()}"
}}
model "m" {{
  source    = "{bench.model.folder.resolve()}"
  precision = "A_BF16_W_INT{self.bits}"{calibration if self.calibrated else ""}
  quantization {{
    group_size = {group}
    method     = "{method}"
    head       = "BF16"
  }}
}}
"""

    def make(self, bench, args):
        def llima(*command):
            done = subprocess.run([args.llima, *command], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{bench.name} {self.key}:\n{done.stderr}")
            return done.stdout

        with tempfile.TemporaryDirectory() as root:
            runs = []

            def run():
                runs.append(f"{root}/{len(runs)}")
                os.mkdir(runs[-1])
                pathlib.Path(runs[-1], "llima.hcl").write_text(self.project(bench))
                llima("build", "-C", runs[-1], "--progress=quiet", "m:quantize")

            figures = {"cpu_seconds": quickest(run, children)}
            folder = runs[-1]
            llima("build", "-C", folder, "--progress=quiet")
            w = weights.read_onnx(bench.model, f"{folder}/m/sima_files/model_sdk")
            text, out = bench.text_files["tempest"], f"{folder}/m"
            said = json.loads(llima("eval", out, "--text", text, "--against", f"{folder}/b", "--window", "512", "--json", "--progress=quiet"))
            if said["tokens"] != bench.windows["tempest"][:, 1:].size:
                sys.exit(f"{bench.name}: llima eval scored {said['tokens']} tokens, not those of {bench.windows['tempest'].shape} windows")
            figures["own"] = {"windows": len(bench.windows["tempest"]), "kl": said["kl"]["mean"], "same_top1": said["same_top1"] / 100, "perplexity": said["perplexity"]}
        return w, figures

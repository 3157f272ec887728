#!/usr/bin/env python3
"""Runs the ONNX graphs in a folder through ONNX Runtime's CPU provider and
compares them with what llima's evaluator computed.

The folder holds NAME.onnx with, for each input and output, NAME.in.INPUT.npy
and NAME.out.OUTPUT.npy; BFLOAT16 values are stored as the float32 numbers
that they are.

Every graph is checked by the onnx package (types and shapes included), then
run with all of ONNX Runtime's optimisations and with none. An output passes if

  |got - want| <= step + relative * m              for every element, and
  mean |got - want| <= (mean + flip / rows) * a,

where m is the largest magnitude of what is wanted, a the average one, and step is one unit in
the last place of BFLOAT16 for outputs of that type, else 0. Both runs must
keep every rounding of an activation to BFLOAT16: the graph's number of Casts
to it is compared with that of the optimised graph.

Ids of TopK are compared where the values beside them are further apart than
the bound.
"""

import argparse
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort

BFLOAT16 = onnx.TensorProto.BFLOAT16


def to_bfloat16(a):
    """The upper half of float32 numbers that are exact in BFLOAT16."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    if np.any(bits & 0xFFFF):
        sys.exit("an input of type BFLOAT16 holds a number that is not one")
    return (bits >> 16).astype(np.uint16)


def from_bfloat16(a):
    return (a.astype(np.uint32) << 16).view(np.float32)


def bfloat16_step(a):
    """One unit in the last place of BFLOAT16, at the larger neighbour."""
    _, exponent = np.frexp(np.abs(a.astype(np.float64)))
    return np.ldexp(1.0, exponent - 8 + 1)


def run(path, inputs, optimise):
    """Returns the outputs by name, and the optimised graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # Products that ONNX Runtime fuses with DequantizeLinear would otherwise
    # round activations to 8 bits.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    optimised = path.parent / "optimised" / path.name
    optimised.parent.mkdir(exist_ok=True)
    options.optimized_model_filepath = str(optimised)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", path.stem + ".bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "64")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    keep = []  # an OrtValue does not own what it was made from

    def bind(to, name, kind, array):
        element = {"tensor(bfloat16)": BFLOAT16, "tensor(float)": onnx.TensorProto.FLOAT, "tensor(int32)": onnx.TensorProto.INT32}[kind]
        value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, element)
        keep.append((array, value))
        to(name, value)

    for i in session.get_inputs():
        a = inputs[i.name]
        bind(binding.bind_ortvalue_input, i.name, i.type, to_bfloat16(a) if i.type == "tensor(bfloat16)" else np.ascontiguousarray(a))
    buffers = {}
    for o in session.get_outputs():
        stored = {"tensor(bfloat16)": np.uint16, "tensor(float)": np.float32, "tensor(int32)": np.int32}[o.type]
        buffers[o.name] = (o.type, np.zeros(o.shape, stored))
        bind(binding.bind_ortvalue_output, o.name, *buffers[o.name])
    session.run_with_iobinding(binding)
    out = {name: from_bfloat16(a) if kind == "tensor(bfloat16)" else a for name, (kind, a) in buffers.items()}
    return out, onnx.load(str(optimised), load_external_data=False)


def roundings(model):
    """How many Casts to BFLOAT16 a graph has."""
    return sum(
        n.op_type == "Cast" and any(a.name == "to" and a.i == BFLOAT16 for a in n.attribute) for n in model.graph.node
    )


def compare(got, want, kind, args):
    """Returns the verdict on one output, with the figures."""
    if got.shape != want.shape:
        return False, f"shape {got.shape}, want {want.shape}", 0.0, 0.0
    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    most, average = float(np.max(np.abs(want))) or 1.0, float(np.mean(np.abs(want))) or 1.0
    step = bfloat16_step(np.maximum(np.abs(got), np.abs(want))) if kind == BFLOAT16 else 0.0
    ok = bool(np.all(error <= step + args.relative * most)) and float(error.mean()) <= (args.mean + args.flip / want.shape[0]) * average
    differ = float(np.mean(error > 1e-5 * most))
    text = f"max {error.max():.3g} of {most:.3g}, mean {error.mean():.3g} of {average:.3g}, {100 * differ:.3f} % differ"
    return ok, text, float(error.max()) / most, float(error.mean()) / average


def compare_ids(got, want, values, args):
    """Ids must agree but for neighbours whose values are too close to tell."""
    gap = 2 * args.relative * float(np.max(np.abs(values)))
    flat = values.ravel()
    for i in np.flatnonzero(got.ravel() != want.ravel()):
        near = [abs(flat[i] - flat[j]) for j in (i - 1, i + 1) if 0 <= j < flat.size]
        if min(near) > gap and i != flat.size - 1:
            return False, f"id {i} is {got.ravel()[i]}, want {want.ravel()[i]}"
    return True, f"{np.count_nonzero(got != want)} of {got.size} differ"


def check(path, args, worst):
    """Checks one graph; returns how many verdicts were bad."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.output}

    def arrays(side):
        prefix = f"{path.stem}.{side}."
        return {p.name[len(prefix) : -len(".npy")]: np.load(p) for p in sorted(path.parent.glob(prefix + "*.npy"))}

    inputs, wanted = arrays("in"), arrays("out")
    if set(wanted) != set(kinds):
        sys.exit(f"{path}: there are values for {sorted(wanted)}, the graph has outputs {sorted(kinds)}")
    bad = 0
    for optimise in (True, False):
        got, optimised = run(path, inputs, optimise)
        have, want = roundings(optimised), roundings(model)
        notes = [] if have == want else [f"{have} roundings of {want}"]
        bad += have != want
        for name, value in wanted.items():
            if name == "top_ids":
                ok, text = compare_ids(got[name], value, wanted["top_values"], args)
            else:
                ok, text, most, mean = compare(got[name], value, kinds[name], args)
                worst[0], worst[1] = max(worst[0], most), max(worst[1], mean)
            bad += not ok
            notes.append(f"{name} {text}{'' if ok else ' BAD'}")
        if args.verbose or bad:
            print(f"{path.stem} {'all' if optimise else 'no'} optimisations: {'; '.join(notes)}")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--relative", type=float, required=True)
    parser.add_argument("--mean", type=float, required=True)
    parser.add_argument("--flip", type=float, required=True)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    parts = sorted(args.folder.glob("*.onnx"))
    if not parts:
        sys.exit(f"{args.folder}: no graphs")
    worst = [0.0, 0.0]
    bad = sum(check(p, args, worst) for p in parts)
    print(
        f"{len(parts)} graphs: largest difference {worst[0]:.3g} of the largest magnitude, mean {worst[1]:.3g} of the average; "
        f"bounds {args.relative:.3g}, {args.mean:.3g} + {args.flip:.3g} / rows: {'good' if bad == 0 else f'{bad} bad'}"
    )
    sys.exit(bad > 0)


main()

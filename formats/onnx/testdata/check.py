"""Checks that other readers accept what the encoder writes.

    python check.py [sample.onnx]

sample.onnx is written by `go test ./formats/onnx -update`. The weights that it
refers to are made here. onnx.checker must accept the model with full shape
inference, protobuf must write the same bytes back, and ONNX Runtime must give
what numpy gives. Needs onnx, onnxruntime, numpy.
"""

import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

M, K, N, GROUP = 2, 64, 16, 32


def bf16(values):
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def widen(bits):
    return (bits.astype("<u4") << 16).view("<f4")


def main(path):
    data = open(path, "rb").read()
    rng = np.random.default_rng(1)
    w16 = bf16(rng.standard_normal((N, K)) * 0.1)
    w4 = rng.integers(-8, 8, (K, N)).astype(np.int8)
    s4 = (rng.random((K // GROUP, N)) * 0.05 + 0.01).astype("<f2")
    w8 = rng.integers(-127, 128, (K, N)).astype(np.int8)
    s8 = (rng.random(N) * 0.001 + 0.0005).astype("<f4")
    codes = (w4.reshape(-1) & 15).astype(np.uint8)
    parts = [(64, w16), (64 + 2 * N * K, codes[0::2] | codes[1::2] << 4),
             (64 + 2 * N * K + K * N // 2, s4), (4096, w8), (4096 + K * N, s8)]
    weights = bytearray(8192)
    for offset, part in parts:
        raw = part.tobytes()
        weights[offset : offset + len(raw)] = raw

    proto = onnx.load_model_from_string(data)
    again = proto.SerializeToString(deterministic=True)
    assert again == data, "protobuf writes other bytes"
    print("same bytes from protobuf:", len(data))

    x = rng.standard_normal((M, K)).astype("<f4")
    normed = x / np.sqrt((x.astype("f8") ** 2).mean(axis=1, keepdims=True) + 1e-5)
    # DequantizeLinear with float16 scales has a float16 result.
    w4f = (w4.reshape(K // GROUP, GROUP, N) * s4.astype("f8")[:, None, :]).astype("<f2").astype("f8")
    want = normed @ widen(w16).astype("f8").T + normed @ w4f.reshape(K, N) + normed @ (w8 * s8.astype("f8"))

    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model.onnx")
        open(model, "wb").write(data)
        open(os.path.join(folder, "weights.bin"), "wb").write(weights)
        onnx.checker.check_model(model, full_check=True)
        print("onnx.checker accepts it, onnx", onnx.__version__)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (got,) = session.run(None, {"x": x})
    error = np.abs(got.T - want).max() / np.abs(want).max()
    assert error < 1e-5, error
    print("onnxruntime", onnxruntime.__version__, "relative error %.2g" % error)
    print("metadata", session.get_modelmeta().custom_metadata_map)


main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "sample.onnx"))

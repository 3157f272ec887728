"""A Llama in float32 with numpy, and what one distribution loses against another.

It shares no code with llima, llama.cpp or transformers: every contender's
weights go through it, so that differences are those of weights alone.
"""

import json
import pathlib

import numpy as np

DTYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "I8": "i1", "U8": "u1", "I32": "<i4", "I64": "<i8"}


def read_safetensors(path):
    """All tensors of a file by name, BF16 as float32, and how many bytes each has in the file."""
    raw = np.fromfile(path, np.uint8)
    n = int(raw[:8].view("<u8")[0])
    out, sizes = {}, {}
    for name, t in json.loads(raw[8 : 8 + n].tobytes()).items():
        if name == "__metadata__":
            continue
        low, high = t["data_offsets"]
        x = raw[8 + n + low : 8 + n + high].copy().view(DTYPES[t["dtype"]]).reshape(t["shape"])
        out[name] = (x.astype(np.uint32) << 16).view(np.float32) if t["dtype"] == "BF16" else x
        sizes[name] = high - low
    return out, sizes


class Llama:
    """A checkpoint of Llama's architecture, with rope in its default form."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.folder = folder
        self.config = c = json.loads((folder / "config.json").read_text())
        rope = {**c, **(c.get("rope_scaling") or {}), **(c.get("rope_parameters") or {})}
        if c["model_type"] != "llama" or rope.get("rope_type", "default") != "default":
            raise SystemExit(f"{folder}: only Llama with plain rope is known here")
        self.layers, self.heads, self.kv = c["num_hidden_layers"], c["num_attention_heads"], c["num_key_value_heads"]
        self.dim, self.theta = c.get("head_dim") or c["hidden_size"] // self.heads, rope["rope_theta"]
        self.tensors = {k: np.asarray(v, np.float32) for k, v in read_safetensors(folder / "model.safetensors")[0].items()}
        self.matrices = [k for k, v in self.tensors.items() if v.ndim == 2 and ".layers." in k]
        self.head = self.tensors.get("lm_head.weight", self.tensors["model.embed_tokens.weight"])

    def norm(self, h, w):
        return h / np.sqrt((h * h).mean(-1, keepdims=True) + np.float32(self.config["rms_norm_eps"])) * w

    def turn(self, x):
        """Rotates heads [batch, heads, tokens, dim] by their positions."""
        half = self.dim // 2
        angles = np.outer(np.arange(x.shape[2]), self.theta ** (-np.arange(half) / half))
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, q, k, v):
        """Causal attention; q, k and v are [batch, tokens, heads·dim]."""
        batch, tokens, _ = q.shape
        q, k, v = (x.reshape(batch, tokens, -1, self.dim).swapaxes(1, 2) for x in (q, k, v))
        q, k = self.turn(q), self.turn(k)
        k, v = (np.repeat(x, self.heads // self.kv, 1) for x in (k, v))
        s = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(self.dim))
        s += np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
        p = np.exp(s - s.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(batch, tokens, -1)

    def hidden(self, ids, weights=None, see=lambda name, x: None):
        """What the head reads, [batch, tokens, hidden_size], of ids [batch, tokens].
        weights take the place of the checkpoint's tensors; see is shown the
        input of each matrix."""
        w = {**self.tensors, **(weights or {})}

        def product(name, x):
            see(name + ".weight", x)
            return x @ w[name + ".weight"].T

        h = w["model.embed_tokens.weight"][ids]
        for i in range(self.layers):
            p = f"model.layers.{i}."
            x = self.norm(h, w[p + "input_layernorm.weight"])
            q, k, v = (product(f"{p}self_attn.{n}_proj", x) for n in "qkv")
            h = h + product(p + "self_attn.o_proj", self.attention(q, k, v))
            x = self.norm(h, w[p + "post_attention_layernorm.weight"])
            gate, up = product(p + "mlp.gate_proj", x), product(p + "mlp.up_proj", x)
            h = h + product(p + "mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
        return self.norm(h, w["model.norm.weight"])


def partition(x):
    """exp of logits [tokens, vocabulary] less their largest, and the log of the sum of exp."""
    top = x.max(-1, keepdims=True)
    e = np.exp(x - top)
    return e, top[:, 0].astype(np.float64) + np.log(e.sum(-1, dtype=np.float64))


def loss(want, got, targets, rows=64):
    """KL(want || got) in nats, whether the likeliest token is the same, and the
    negative log-likelihood of targets under got: each [tokens]. want and got
    return the float32 logits of a slice of positions; sums are float64."""
    kl, same, nll = [], [], []
    for at in range(0, len(targets), rows):
        part = slice(at, min(at + rows, len(targets)))
        a, b = want(part), got(part)
        same.append(a.argmax(-1) == b.argmax(-1))
        (p, log_a), log_b = partition(a), partition(b)[1]
        p *= a - b
        kl.append(p.sum(-1, dtype=np.float64) * np.exp(a.max(-1) - log_a) - (log_a - log_b))
        nll.append(log_b - b[np.arange(len(b)), targets[part]])
    return np.concatenate(kl), np.concatenate(same), np.concatenate(nll)

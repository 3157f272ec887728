"""Writes the Parquet files of this folder, and expect.json: what pyarrow itself reads from them, each list of rows once.

    python write.py    (pyarrow 26)
"""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent
lines = ["To be, or not to be", "", None, "that is the question", "é ü 中文 🙂", "To be, or not to be", "x" * 300]
text = pa.array([f"{s} {i // 9}" if s and i % 4 else s for i, s in enumerate(lines * 30)], pa.string())
talk = [
    [{"role": "user", "content": "who is there"}, {"role": "assistant", "content": "nay, answer me"}],
    [],
    None,
    [{"role": "user", "content": None}, None, {"role": None, "content": "stand"}],
    [{"role": "system", "content": ""}],
]
message = pa.struct([("role", pa.string()), ("content", pa.string())])
wide = pa.struct([("role", pa.string()), ("weight", pa.int32()), ("content", pa.large_string()), ("parts", pa.list_(pa.string()))])
files = {
    "none": (text, dict(compression="none", use_dictionary=False)),
    "required": (pa.array([s or "" for s in text.to_pylist()]), dict(compression="none")),
    "snappy": (text, dict(compression="snappy")),
    "gzip": (text, dict(compression="gzip", data_page_version="2.0")),
    "zstd": (text, dict(compression="zstd", write_page_checksum=True)),
    "lz4": (text, dict(compression="lz4")),
    "brotli": (text, dict(compression="brotli")),
    "pages": (text, dict(compression="snappy", data_page_size=64, write_batch_size=5, row_group_size=50, data_page_version="2.0")),
    "large": (text.cast(pa.large_string()), dict(compression="snappy", use_dictionary=False)),
    "view": (text.cast(pa.string_view()), dict(compression="snappy")),
    "binary": (text.cast(pa.binary()), dict(compression="none")),
    "lengths": (text, dict(compression="none", use_dictionary=False, column_encoding="DELTA_LENGTH_BYTE_ARRAY")),
    "prefixes": (text, dict(compression="zstd", use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY", data_page_size=256, write_batch_size=7)),
    "nulls": (pa.array([None] * 1000, pa.string()), dict(compression="snappy")),
    "empty": (pa.array([], pa.string()), dict(compression="snappy")),
    "messages": (pa.array(talk * 12, pa.list_(message)), dict(compression="snappy", data_page_size=64, write_batch_size=4)),
    "messages_v2": (pa.array(talk * 12, pa.list_(message)), dict(compression="zstd", data_page_version="2.0", row_group_size=7)),
    "messages_wide": (
        pa.array([t and [m and dict(m, weight=3, parts=["a", "b"]) for m in t] for t in talk], pa.large_list(wide)),
        dict(compression="none", use_compliant_nested_type=False),
    ),
    "chat_messages": (pa.array([talk[0], None, talk[4], []] * 9, pa.list_(message)), dict(compression="snappy", row_group_size=10)),
    "latin1": (pa.array([b"caf", b"caf\xe9"]), dict()),
    "ids": (None, dict()),
    "strings": (pa.array([["a", "b"]]), dict()),
    "numbers": (pa.array([1, 2]), dict()),
}
expect = {"files": {}, "rows": []}
for name, (column, options) in files.items():
    if column is None:
        pq.write_table(pa.table({"id": [1, 2]}), here / f"{name}.parquet", store_schema=False)
        continue
    key = "messages" if "messages" in name else "text"
    required = name == "required"
    schema = pa.schema([("id", pa.int64()), pa.field(key, column.type, nullable=not required)])
    table = pa.table([pa.array(range(len(column))), column], schema=schema)
    if "column_encoding" in options:
        options["column_encoding"] = {key: options["column_encoding"], "id": "PLAIN"}
    path = here / f"{name}.parquet"
    pq.write_table(table, path, store_schema=False, **options)
    rows = pq.read_table(path).column(key).to_pylist()
    rows = [b.decode(errors="replace") if isinstance(b, bytes) else b for b in rows]
    if rows not in expect["rows"]:
        expect["rows"].append(rows)
    expect["files"][name] = expect["rows"].index(rows)
(here / "expect.json").write_text(json.dumps(expect, ensure_ascii=False) + "\n")

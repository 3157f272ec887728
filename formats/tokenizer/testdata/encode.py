"""Encodes and decodes texts with Hugging Face's library: reads FOLDER/texts.json
and each FOLDER/NAME.tokenizer.json, writes FOLDER/NAME.ids.json, lines of
[ids with special tokens, ids without them, decoded, decoded without special tokens].

    python encode.py FOLDER
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer

folder = pathlib.Path(sys.argv[1])
texts = json.loads((folder / "texts.json").read_text())
for path in sorted(folder.glob("*.tokenizer.json")):
    t = Tokenizer.from_file(str(path))
    full = [e.ids for e in t.encode_batch(texts)]
    plain = [e.ids for e in t.encode_batch(texts, add_special_tokens=False)]
    whole = t.decode_batch(full, skip_special_tokens=False)
    skip = t.decode_batch(full)
    with open(folder / path.name.replace(".tokenizer.", ".ids."), "w") as f:
        for row in zip(full, plain, whole, skip):
            f.write(json.dumps(row) + "\n")

"""Writes tokens.json: texts, and their ids by each checkpoint's tokenizer.json
and Hugging Face's library, special tokens included.

    python tokens.py CHECKPOINT...
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer

rows = json.loads(pathlib.Path("../../formats/tokenizer/testdata/vectors/bard-3m.json").read_text())
texts = [r[0] for r in rows if len(r[0]) < 160][::3]
texts += ["a\n\nb", "<bos>a<start_of_turn>b", "[INST] a [/INST] b", "x <think> y </think>", "a<|im_end|> b"]
ids = {}
for folder in map(pathlib.Path, sys.argv[1:]):
    t = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids[folder.name] = [t.encode(s).ids for s in texts]
with open("tokens.json", "w") as f:
    f.write('{"texts":' + json.dumps(texts) + ',\n"ids":{' + ",\n".join(f'"{k}":{json.dumps(v, separators=(",", ":"))}' for k, v in ids.items()) + "}}\n")
print(len(texts))

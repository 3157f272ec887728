"""Prints how long Hugging Face's library takes for FOLDER/texts.json with each
FOLDER/NAME.tokenizer.json on one thread: lines of "NAME seconds", the best of
three of the way that tracks offsets and of the one that does not.

    python speed.py FOLDER
"""

import json
import os
import pathlib
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402

folder = pathlib.Path(sys.argv[1])
texts = json.loads((folder / "texts.json").read_text())
for path in sorted(folder.glob("*.tokenizer.json")):
    t = Tokenizer.from_file(str(path))
    best = float("inf")
    for encode in (t.encode_batch, t.encode_batch_fast):
        for _ in range(3):
            start = time.process_time()
            encode(texts, add_special_tokens=False)
            best = min(best, time.process_time() - start)
    print(path.name.removesuffix(".tokenizer.json"), best)

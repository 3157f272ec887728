"""Encodes FOLDER/texts.json with each FOLDER/NAME.model and the SentencePiece
library, writes FOLDER/NAME.ids.json, the token that begins a text included.

    python sentencepiece_ids.py FOLDER
"""

import json
import pathlib
import sys

from sentencepiece import SentencePieceProcessor

folder = pathlib.Path(sys.argv[1])
texts = json.loads((folder / "texts.json").read_text())
for path in sorted(folder.glob("*.model")):
    m = SentencePieceProcessor(model_file=str(path))
    (folder / f"{path.stem}.ids.json").write_text(json.dumps([[m.bos_id(), *ids] for ids in m.encode(texts)]))

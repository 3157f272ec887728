"""Writes normalforms.json: texts with many marks in NFC, NFD, NFKC and NFKD
by Hugging Face's library, whose tables know no character after Unicode 9.

    python normalforms.py
"""

import json
import random

from tokenizers import normalizers

random.seed(1)
marks = [chr(c) for c in list(range(0x300, 0x370)) + list(range(0x591, 0x5BE)) + [0x334, 0x345, 0x9FE, 0x618, 0x1ACE, 0x3099, 0x302A, 0x11930, 0x93C]]
bases = "aeoAE가각âầ中\u0928\u09c7\u09be\u1100\u1161\u212b\ufb01½\U00011935"
rows = []
for n in range(120):
    many = (0, 0, 1, 2, 3, 5) if n < 90 else (0, 2, 20, 40, 80)
    s = "".join(random.choice(bases) + "".join(random.choices(marks, k=random.choice(many))) for _ in range(random.randint(1, 4)))
    rows.append([s] + [getattr(normalizers, f)().normalize_str(s) for f in ("NFC", "NFD", "NFKC", "NFKD")])
with open("normalforms.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")

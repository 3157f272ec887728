"""Writes vectors/NAME.json for files/*.json and the model in testdata/models:
ids and decoded text of the strings below, by Hugging Face tokenizers 0.23.

    cd formats/tokenizer/testdata && python vectors.py

Each vector is [text, ids with special tokens, ids without them, decoded,
decoded without special tokens]. Ids without special tokens are null where
they are a part of the others, a decoded text where it equals the input.
"""

import glob
import json
import os
import random

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers

BARD = "../../../testdata/models/bard-3m/tokenizer.json"
random.seed(7)

TEXT = """ROMEO:\n
But, soft! what light through yonder window breaks?
It is the east, and Juliet is the sun.
O Romeo, Romeo! wherefore art thou Romeo?
[Enter HAMLET, reading.]
The quick brown fox jumps over the lazy dog.
Call me Ishmael. Some years ago--never mind how long precisely--
I'll, I've, you're, he'd, it's, I'm, don't, can't, y'all'd've
HE'S, WE'LL, THEY'VE, I'D, 'TIS, ROCK'N'ROLL, 's 't 're 'S
'ſ Iſ 'LL 'Re ' s "quoted" ‘curly’ “double” «guillemets»
3.14159, 1,234,567.89, 1e-10, 0xDEADBEEF, 007, 12345678901234567890
2026-11-24T01:36:42Z 50% $19.99 #1 v2.13.0 192.168.0.1
½ ¼ ² ³ Ⅷ ① ٣٤٥ १२३ 一二三 ㊿
a+b=c; x**2; y<<3; z->w; f(x)[0]{1}; if (a && b || !c) { return; }
def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\n
func (t *Tokenizer) Encode(s string) []int { return nil } // done
<html><body class="x">&amp; &lt;</body></html>
SELECT * FROM t WHERE id = 1 AND name LIKE '%x%';
{"a": [1, 2, {"b": null}], "c": "d\\n"}
#include <stdio.h>\nint main(void) { printf("hi\\n"); }
https://example.org/a/b?c=d&e=f#g user.name+tag@example.com
C:\\Users\\me\\file.txt /usr/local/bin/../lib
snake_case camelCase PascalCase kebab-case SCREAMING_CASE __dunder__
Voilà, le garçon naïf a mangé une crème brûlée à l'œuvre.
Die Straße über dem Fluß heißt Ä Ö Ü ẞ.
El niño comió piñas en año nuevo, ¿verdad? ¡Sí!
Příliš žluťoučký kůň úpěl ďábelské ódy
Zażółć gęślą jaźń; árvíztűrő tükörfúrógép; İstanbul ığdır
Съешь же ещё этих мягких французских булок, да выпей чаю
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία
דג סקרן שט בים מאוכזב ולפתע מצא חברה
نص حكيم له سر قاطع وذو شأن عظيم
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า
いろはにほへと ちりぬるを アイウエオ 漢字かな交じり文
中文分词是一个有趣的问题。你好，世界！
키스의 고유조건은 입술끼리 만나야 하고
ქართული ენა, Հայերեն, አማርኛ, ខ្មែរ, ລາວ, བོད་ཡིག
😀😃😄 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 ❤️ ☺ ✅ 🫠
e\u0301 vs \u00e9, n\u0303 \u00f1, \u1e69 s\u0323\u0307, \ufb01 \uff21\uff22 \u212b
zero\u200bwidth\u200djoin\u2060word\ufeffbom soft\u00adhyphen
nbsp\u00a0x\u2003em\u3000ideographic\u2028line\u2029para\u0085nel
control \u0001\u0002\u001f\u007f\u0080 end
\U00010900\U00013cd7\U0002ebf0\U00010d4a\U00016d40 Unicode 16
\U0001d400\U0001d7d8 \U00020000 \U000e0041 \U0010ffff \uffff \ufffd
▁under▁lined ▁ ▁▁ _ __ Ġ Ċ Ä
x▁y <0x41> <0xE2><0x82> </s> <unk> <pad>
""".split("\n")

SPECIAL = ["<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<image>", "<image_soft_token>",
           "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>",
           "<|begin_of_text|>", "<|end_of_text|>", "<|startoftext|>", "<|eot_id|>", "[INST]"]


def strings():
    out = ["", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", " \n ", "\t", "\r\n", "\r", " \r\n \n", "a", " a", "a ", "  a  b   c    ",
           "\n\na\n\n b\n\n\n  c", "a\t\tb \t c", "a\u00a0\u00a0b", "\u3000\u3000a", "   \n   \n   x", "x   \n", "'", "''", "' '", "'s", "a's",
           "1", "12", "123", "1234", "12345", "1a2b3c", " 1 22 333 4444 ", "!", "!!", " !!", "!!\n\n", "?!\r\n x", "...", "a...b",
           "-" * 40, " " * 40, "\n" * 20, "=" * 17 + "\n", "a" * 64, "ab" * 40, "é" * 20, "😀" * 7, "漢" * 11, "1" * 31, "\u0301", "a\u0301\u0301"]
    out += [line for line in TEXT if line] + ["\n".join(TEXT[i:i + 3]) for i in range(0, len(TEXT), 6)]
    for s in SPECIAL:
        out += [s, f"a{s}b", f"a {s} b", f"{s}\n{s}{s}  x"]
    out += ["<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n", "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
            "<s>[INST] Hi [/INST] Hello</s>", "<|user|>\nHi<|end|>\n<|assistant|>\n", "<|im_start", "<|im_start|", "<<s>>", "<s", "< s>", " <s> a"]
    words = [w for line in TEXT for w in line.split()]
    for _ in range(60):
        sep = random.choice([" ", "  ", "\n", "\t", "", " \n"])
        out.append(sep.join(random.sample(words, random.randint(2, 6))))
    for _ in range(50):
        out.append("".join(chr(random.choice([random.randrange(0x20, 0x7F), random.randrange(0xA0, 0x250), random.randrange(0x370, 0x1200),
                                              random.randrange(0x2000, 0x3100), random.randrange(0x1F300, 0x1F700), random.randrange(0x10000, 0x20000)]))
                           for _ in range(random.randint(1, 12))))
    for _ in range(30):
        out.append("".join(random.choice(" \n\t\r'a1.é") for _ in range(random.randint(3, 14))))
    return out


def variants():
    """Settings that none of the files has, put on one of them."""
    with open(BARD) as f:
        text = f.read()
    made = {}
    for name, pre in {
        "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=True),
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        "regex": pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"[\p{L}\p{M}]+|\p{N}{2}"), "contiguous"),
            pre_tokenizers.Split(" ", "merged_with_next"),
            pre_tokenizers.Split(Regex(r"[\r\n]+"), "merged_with_previous"),
            pre_tokenizers.Split("\t", "removed"),
            pre_tokenizers.Split(Regex(r"\S+"), "isolated", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
        "metaspace": pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True),
    }.items():
        t = Tokenizer.from_str(text)
        t.pre_tokenizer = pre
        if name == "metaspace":
            t.decoder = decoders.Metaspace("▁", prepend_scheme="always")
        made[name] = t
    return made


def write(name, t, texts):
    rows = []
    for s in texts:
        ids = t.encode(s).ids
        plain = t.encode(s, add_special_tokens=False).ids
        inside = any(ids[i:i + len(plain)] == plain for i in range(len(ids) - len(plain) + 1))
        full, skip = t.decode(ids, skip_special_tokens=False), t.decode(ids)
        rows.append([s, ids, None if inside else plain, None if full == s else full, None if skip == s else skip])
    with open(f"vectors/{name}.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows) + "\n]\n")


os.makedirs("vectors", exist_ok=True)
TEXTS = strings()
write("bard-3m", Tokenizer.from_file(BARD), TEXTS)
for path in sorted(glob.glob("files/*.json")):
    if not path.startswith("files/variant-"):
        write(os.path.basename(path)[:-5], Tokenizer.from_file(path), TEXTS)
for name, t in variants().items():
    settings = json.loads(t.to_str())
    with open(f"files/variant-{name}.json", "w") as f:
        json.dump({k: settings[k] for k in ("pre_tokenizer", "decoder")}, f, ensure_ascii=False)
        f.write("\n")
    write(f"variant-{name}", t, TEXTS[::3])
print(len(TEXTS), "strings")

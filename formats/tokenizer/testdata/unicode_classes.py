"""Writes unicode_classes.txt: the code points that \\p{L}, \\p{N} and \\p{M}
match in the regular expressions of Hugging Face tokenizers.

    python unicode_classes.py > unicode_classes.txt

Each line is "CLASS FIRST LAST", hexadecimal, both ends included.
"""

from tokenizers import Regex, pre_tokenizers

# Surrogates are not characters: U+0020 stands for them, and is in no class.
TEXT = "".join(chr(c) if not 0xD800 <= c < 0xE000 else " " for c in range(0x110000))


def ranges(name):
    split = pre_tokenizers.Split(Regex(r"\p{%s}+" % name), "removed")
    at = 0
    for _, (start, end) in split.pre_tokenize_str(TEXT):
        if start > at:
            yield at, start - 1
        at = end
    if at < len(TEXT):
        yield at, len(TEXT) - 1


for name in "LNM":
    for first, last in ranges(name):
        print(f"{name} {first:X} {last:X}")

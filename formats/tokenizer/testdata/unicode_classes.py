"""Writes unicode_classes.txt: the code points that \\p{L}, \\p{N} and \\p{M}
match in the regular expressions of Hugging Face tokenizers, those that its
normal forms sort (C), and those that they take apart (D).

    python unicode_classes.py > unicode_classes.txt

Each line is "CLASS FIRST LAST", hexadecimal, both ends included.
"""

from tokenizers import Regex, normalizers, pre_tokenizers

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


NFD = normalizers.NFD()


def sorted_by_class(c):
    """Whether c goes before U+0345, the last class, or behind U+0334, the first."""
    return any(NFD.normalize_str(s) != s for s in ("a\u0345" + c, "a" + c + "\u0334"))


def code_points(name, is_in):
    first = None
    for c in range(0x80, 0x110001):
        inside = c < 0x110000 and not 0xD800 <= c < 0xE000 and is_in(chr(c))
        if inside and first is None:
            first = c
        elif not inside and first is not None:
            print(f"{name} {first:X} {c - 1:X}")
            first = None


code_points("C", lambda c: NFD.normalize_str(c) == c and sorted_by_class(c))
code_points("D", lambda c: NFD.normalize_str(c) != c)

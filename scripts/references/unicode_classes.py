"""Writes longlora/tokenizer/unicode_tables.cpp: the classes of code points as the `tokenizers` package sees them.

Its regular expressions carry Unicode tables of their own, newer than those of Debian's libraries.
Needs tokenizers. Run from the repository root: python3 scripts/references/unicode_classes.py
"""
import pathlib

from tokenizers import Regex, normalizers

OUTPUT = pathlib.Path("longlora/tokenizer/unicode_tables.cpp")
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def members(pattern):
    """Code points that match a pattern of one character."""
    remove = normalizers.Replace(Regex(pattern), "")
    found = set(CODES)
    for start in range(0, len(CODES), 8192):
        found -= set(map(ord, remove.normalize_str("".join(map(chr, CODES[start:start + 8192])))))
    return sorted(found)


def ranges(codes):
    result = []
    for code in codes:
        if result and result[-1][1] == code - 1:
            result[-1][1] = code
        else:
            result.append([code, code])
    return result


def table(name, pattern):
    rows, line = [], "   "
    for first, last in ranges(members(pattern)):
        entry = f" {{{first:#x}, {last:#x}}},"
        if len(line) + len(entry) > 100:
            rows.append(line)
            line = "   "
        line += entry
    rows.append(line)
    body = "\n".join(rows)
    return f"const std::vector<CodeRange> {name} = {{\n{body}\n}};\n"


def main():
    text = "// Written by scripts/references/unicode_classes.py; Unicode 16.\n"
    text += '#include "longlora/tokenizer/unicode.h"\n\nnamespace longlora::tokenizer::internal {\n\n'
    text += "// clang-format off\n"
    text += "\n".join(table(name, pattern) for name, pattern in
                      [("kLetterRanges", r"\p{L}"), ("kNumberRanges", r"\p{N}"), ("kSpaceRanges", r"\s")])
    text += "// clang-format on\n\n}  // namespace longlora::tokenizer::internal\n"
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main()

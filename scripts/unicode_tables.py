#!/usr/bin/env python3
"""Writes model/unicode_categories.cpp and model/unicode_normalization.cpp from Python's unicodedata.

    scripts/unicode_tables.py            # rewrites both, for the Unicode version of the Python that runs it

Categories are sorted, disjoint ranges. Normalization holds canonical combining classes, single-step canonical decompositions
(Hangul is computed, not listed) and whether a decomposition composes again."""
import pathlib
import sys
import unicodedata

OUT = pathlib.Path(__file__).resolve().parent.parent / "model"
HEADER = """// Written by scripts/unicode_tables.py from Unicode {version}. Do not edit.
#include "model/unicode_tables.hpp"

namespace spearfish::model {{

// clang-format off
"""
FOOTER = """// clang-format on

} // namespace spearfish::model
"""


def ranges(value_of):
    """Runs of equal, truthy values over all code points -> (first, last, value)."""
    runs = []
    for c in range(sys.maxunicode + 1):
        value = value_of(chr(c))
        if value and runs and runs[-1][1] == c - 1 and runs[-1][2] == value:
            runs[-1][1] = c
        elif value:
            runs.append([c, c, value])
    return runs


def array(kind, name, rows):
    lines, line = [], " "
    for row in rows:
        item = " {" + ",".join(row) + "},"
        if len(line) + len(item) > 126:
            lines.append(line)
            line = " "
        line += item
    lines.append(line)
    return f"const std::array<{kind}, {len(rows)}> {name} = {{{{\n" + "\n".join(lines) + "\n}};\n"


def write(name, *arrays):
    (OUT / name).write_text(HEADER.format(version=unicodedata.unidata_version) + "\n".join(arrays) + FOOTER)
    return arrays


def main():
    letters = ranges(lambda c: unicodedata.category(c)[0] == "L")
    numbers = ranges(lambda c: unicodedata.category(c)[0] == "N")
    classes = ranges(unicodedata.combining)
    pairs = []
    for c in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(c)).split()
        if not parts or parts[0].startswith("<"):
            continue
        first, second = int(parts[0], 16), int(parts[1], 16) if len(parts) > 1 else 0
        again = second != 0 and unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(c)
        pairs.append((c, first, second, int(again)))
    hexes = lambda row: [f"0x{v:x}" for v in row[:-1]]
    write("unicode_categories.cpp", array("CodeRange", "kLetters", [hexes(r) for r in letters]),
          array("CodeRange", "kNumbers", [hexes(r) for r in numbers]))
    write("unicode_normalization.cpp", array("ClassRange", "kCombiningClasses", [hexes(r) + [str(r[2])] for r in classes]),
          array("Decomposition", "kDecompositions", [hexes(p) + [str(p[3])] for p in pairs]))
    (OUT / "unicode_tables.hpp").write_text(f"""// Written by scripts/unicode_tables.py from Unicode {unicodedata.unidata_version}. Do not edit.
#pragma once

#include <array>
#include <cstdint>

namespace spearfish::model {{

struct CodeRange {{
  uint32_t first, last;
}};
struct ClassRange {{
  uint32_t first, last;
  uint8_t combining_class;
}};
// `code` is canonically `first` followed by `second` (0: by nothing). `composes`: NFC makes it of them.
struct Decomposition {{
  uint32_t code, first, second;
  bool composes;
}};
extern const std::array<CodeRange, {len(letters)}> kLetters;
extern const std::array<CodeRange, {len(numbers)}> kNumbers;
extern const std::array<ClassRange, {len(classes)}> kCombiningClasses;
extern const std::array<Decomposition, {len(pairs)}> kDecompositions;

}} // namespace spearfish::model
""")


if __name__ == "__main__":
    main()

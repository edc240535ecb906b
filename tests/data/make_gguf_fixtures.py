#!/usr/bin/env python3
"""Writes what the GGUF tests compare with, and the grid tables of the IQ formats.

The oracle is the `gguf` package from PyPI (an implementation of its own of every block format):

    python3 -m venv venv && venv/bin/pip install gguf numpy
    venv/bin/python tests/data/make_gguf_fixtures.py tests/data/gguf_blocks.bin src/formats/iq_tables.cpp

gguf_blocks.bin, little endian: per format i32 ggml type id, i32 blocks, i32 bytes a block, i32 values a block, then the
blocks, then blocks * values f32. Blocks hold random bits in every field; only the f16 scales are limited to magnitudes
from 2^-10 to 2, because a random f16 is often NaN or infinite.
"""
import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

BLOCKS = 4
# f16 fields of a block, as byte offsets.
F16_FIELDS = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0], T.IQ1_S: [0], T.IQ1_M: [],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}


def random_f16(rng):
    value = np.float16(rng.choice([-1, 1]) * 2.0 ** rng.uniform(-10, 1))
    return value.view(np.uint16)


def fixtures(path):
    rng = np.random.default_rng(20260301)
    with open(path, "wb") as out:
        for kind, fields in F16_FIELDS.items():
            values, size = quants.GGML_QUANT_SIZES[kind]
            blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
            for block in blocks:
                for field in fields:
                    block[field:field + 2] = np.frombuffer(struct.pack("<H", random_f16(rng)), dtype=np.uint8)
                if kind == T.IQ1_M:  # its f16 is spread over the top nibbles of four u16 at byte 48
                    d = int(random_f16(rng))
                    for i in range(4):
                        block[49 + 2 * i] = (block[49 + 2 * i] & 15) | (((d >> (4 * i)) & 15) << 4)
            decoded = quants.dequantize(blocks.reshape(1, -1), kind).astype(np.float32)
            out.write(struct.pack("<4i", int(kind), BLOCKS, size, values))
            out.write(blocks.tobytes())
            out.write(decoded.tobytes())


# Table, source class, bits a value in our packed form.
GRIDS = [("kIq2XxsGrid", quants.IQ2_XXS, 2), ("kIq2XsGrid", quants.IQ2_XS, 2), ("kIq2SGrid", quants.IQ2_S, 2),
         ("kIq3XxsGrid", quants.IQ3_XXS, 3), ("kIq3SGrid", quants.IQ3_S, 3), ("kIq1Grid", quants.IQ1_S, 2)]


def tables(path):
    with open(path, "w") as out:
        out.write("// Grid points of the IQ formats, packed as iq_tables.hpp says. Written by "
                  "tests/data/make_gguf_fixtures.py.\n"
                  "#include \"formats/iq_tables.hpp\"\n\nnamespace spf::formats {\n\n// clang-format off\n")
        for name, source, bits in GRIDS:
            source.init_grid()
            grid = source.grid.reshape(source.grid_shape)
            levels = list(source.grid_map)
            packed = [sum(levels.index(int(v)) << (bits * i) for i, v in enumerate(row)) for row in grid]
            out.write(f"const uint16_t {name}[{len(packed)}] = {{\n")
            for i in range(0, len(packed), 14):
                out.write("    " + " ".join(f"0x{p:04x}," for p in packed[i:i + 14]) + "\n")
            out.write("};\n")
        out.write("// clang-format on\n\n}  // namespace spf::formats\n")


fixtures(sys.argv[1])
tables(sys.argv[2])

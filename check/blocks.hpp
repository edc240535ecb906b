// Operands whose blocks have scales in tiles of 128 x 4, as the manifest's rule "block scales OPERAND" says.
#pragma once

#include <vector>

#include "check/problem.hpp"

namespace spf::check {

// The operand that holds the scales of operand `index`; -1 if none does.
int block_scales_of(const Problem& problem, size_t index);

// What operand `index` stands for, in rows: codes times the scales of their blocks where it has such, of bytes two
// numbers in e2m1; else its own numbers. inputs: of all operands.
std::vector<double> input_values(const Problem& problem, size_t index, const std::vector<Codes>& inputs);

// The tiles of rows [row, row + count) alone, out of tiles of any number of rows with `columns` scales each; zeros
// where they are padded.
Codes tile_rows(const Codes& tiles, int64_t columns, int64_t row, int64_t count);

} // namespace spf::check

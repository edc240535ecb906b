#include "check/blocks.hpp"

namespace spf::check {
namespace {

constexpr int64_t kTileRows = 128, kTileColumns = 4;

// A row's scale in tiles: 512 bytes hold 128 rows of four, 16 of them the rows that are equal modulo 32.
size_t place(int64_t row, int64_t column, int64_t columns) {
  const int64_t tile = row / kTileRows * (columns / kTileColumns) + column / kTileColumns;
  return static_cast<size_t>(tile * kTileRows * kTileColumns + row % 32 * 16 + row % kTileRows / 32 * kTileColumns +
                             column % kTileColumns);
}

} // namespace

int block_scales_of(const Problem& problem, size_t index) {
  const std::vector<Operand>& operands = problem.op->operands;
  for (size_t i = 0; i < operands.size(); ++i)
    if (operands[i].values.kind == ValueRule::Kind::kBlockScales && operands[i].values.of == operands[index].name)
      return static_cast<int>(i);
  return -1;
}

std::vector<double> input_values(const Problem& problem, size_t index, const std::vector<Codes>& inputs) {
  const OperandShape& operand = problem.operands[index];
  std::vector<double> values = decode(operand.type, inputs[index]);
  const int found = block_scales_of(problem, index);
  if (found < 0 || operand.shape.empty() || values.empty()) return values;
  int64_t columns = operand.shape.back();
  if (operand.type == SPF_U8) {
    Codes halves;
    for (const std::byte two : inputs[index]) {
      halves.push_back(two & std::byte{15});
      halves.push_back(two >> 4);
    }
    values = decode(SPF_E2M1, halves);
    columns *= 2;
  }
  const OperandShape& scales = problem.operands[static_cast<size_t>(found)];
  const std::vector<double> scale = decode(scales.type, inputs[static_cast<size_t>(found)]);
  const int64_t block = scales.type == SPF_E4M3 ? 16 : 32;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    values[i] *= scale[place(at / columns, at % columns / block, scales.shape.back())];
  }
  return values;
}

Codes tile_rows(const Codes& tiles, int64_t columns, int64_t row, int64_t count) {
  Codes some(static_cast<size_t>((count + kTileRows - 1) / kTileRows * kTileRows * columns));
  for (int64_t r = 0; r < count; ++r)
    for (int64_t c = 0; c < columns; ++c) some[place(r, c, columns)] = tiles[place(row + r, c, columns)];
  return some;
}

} // namespace spf::check

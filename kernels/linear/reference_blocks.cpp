// The meaning of nvfp4_linear, mxfp4_linear and mxfp8_linear, in loops to check by hand:
//   out[m,n] = round(alpha * (sum over k of x[m,k] * W[n,k], in fp64 and in the order of k) + bias[n])
// with x[m,k] = code times the scale of its block, exact, and W as spf_unpack() gives it.
#include "kernels/linear/blocks.hpp"
#include "kernels/linear/reference_rows.hpp"

namespace spf::linear {

spf_status reference_blocks(const Call& call, const LaunchContext& ctx) {
  BlockLinear op = {};
  is_block_linear(*call.problem.op, &op);
  const int64_t rows = call.problem.extent("*"), columns = call.problem.extent("N"), depth = call.problem.extent("K");
  const int64_t block = block_of(op), tiles = scale_tiles(depth / block);
  const Rows x = rows_of(*call.operand("x")), out = rows_of(*call.operand("out"));
  const spf_tensor& scales = *call.operand("x_scales");
  const spf_scalar_type code = values_a_byte(op) == 2 ? SPF_E2M1 : x.type;
  const WeightRows weight(*call.weight);
  const double alpha = element(call.operand("alpha"), 0, 1);
  auto* const w = static_cast<float*>(ctx.workspace);
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < depth; ++k) w[k] = weight(n, k);
    for (int64_t m = 0; m < rows; ++m) {
      const char* row = row_at(x, m);
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        const float scale = load_any(scales.data, scales.type, tiled_scale_place(m, k / block, tiles));
        sum += static_cast<double>(load_any(row, code, k)) * static_cast<double>(scale) * static_cast<double>(w[k]);
      }
      store_any(row_at(out, m), out.type, n, static_cast<float>(alpha * sum + element(call.operand("bias"), n, 0)));
    }
  }
  return SPF_OK;
}

} // namespace spf::linear

// The meaning of linear and scaled_linear, in loops to check by hand:
//   linear         out[m,n] = round(sum over k of x[m,k] * W[n,k], in fp64 and in the order of k, plus bias[n])
//   scaled_linear  the same with x[m,k] = code * x_scale[m, group of k], the sum times channel_scale[n], and where
//   there
//                  are zero points the exact sum of codes less azp[m] * azp_adj[n], before any scale
// with W as spf_unpack() gives it: the layout "reference" (src/pack/reference.hpp) holds codes in rows, and scales and
// zeros as f32.
#include "kernels/linear/reference_rows.hpp"

namespace spf::linear {
namespace {

// azp[m] * azp_adj[n] modulo 2^32; azp_adj[n] alone without azp.
int32_t correction(const Call& call, int64_t m, int64_t n) {
  const spf_tensor *azp = call.operand("azp"), *adj = call.operand("azp_adj");
  if (adj == nullptr) return 0;
  const auto sum = static_cast<const uint32_t*>(adj->data)[n];
  if (azp == nullptr) return static_cast<int32_t>(sum);
  return static_cast<int32_t>(static_cast<const uint32_t*>(azp->data)[offset_of(*azp, azp->rank, m)] * sum);
}

spf_status scaled_reference(const Call& call, const LaunchContext& ctx) {
  const int64_t rows = call.problem.extent("*"), columns = call.problem.extent("N"), depth = call.problem.extent("K");
  const spf_tensor& x_scale = *call.operand("x_scale");
  const int64_t groups = call.problem.extent("G"), last = x_scale.stride[x_scale.rank - 1];
  const Rows x = rows_of(*call.operand("x")), out = rows_of(*call.operand("out"));
  const WeightRows weight(*call.weight);
  const bool has_zeros = call.operand("azp_adj") != nullptr;
  auto* w = static_cast<float*>(ctx.workspace);
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < depth; ++k) w[k] = has_zeros ? weight.code(n, k) : weight(n, k);
    for (int64_t m = 0; m < rows; ++m) {
      const char* row = row_at(x, m);
      const float* scales = static_cast<const float*>(x_scale.data) + offset_of(x_scale, x_scale.rank - 1, m);
      const auto scale = [&](int64_t k) { return static_cast<double>(scales[(groups == 1 ? 0 : k / 128) * last]); };
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum += static_cast<double>(load_any(row, x.type, k)) * static_cast<double>(w[k]) * (has_zeros ? 1.0 : scale(k));
      if (has_zeros && depth > 0) {
        const auto whole = static_cast<uint32_t>(static_cast<int64_t>(sum));
        const auto left = static_cast<int32_t>(whole - static_cast<uint32_t>(correction(call, m, n)));
        sum = static_cast<double>(left) * static_cast<double>(weight.row_scale(n)) * scale(0);
      }
      const double value = sum * element(call.operand("channel_scale"), n, 1) + element(call.operand("bias"), n, 0);
      store_any(row_at(out, m), out.type, n, static_cast<float>(value * element(call.operand("out_factor"), 0, 1)));
    }
  }
  return SPF_OK;
}

} // namespace

spf_status reference(const Call& call, const LaunchContext& ctx) {
  if (call.operand("x_scale") != nullptr) return scaled_reference(call, ctx);
  const int64_t rows = call.problem.extent("*"), columns = call.problem.extent("N"), depth = call.problem.extent("K");
  const Rows x = rows_of(*call.operand("x")), out = rows_of(*call.operand("out"));
  const spf_tensor* bias = call.operand("bias");
  const WeightRows weight(*call.weight);
  // One row of W at a time, decoded once for all rows of x; it lies in the workspace.
  auto* w = static_cast<float*>(ctx.workspace);
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < depth; ++k) w[k] = weight(n, k);
    for (int64_t m = 0; m < rows; ++m) {
      const char* row = row_at(x, m);
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum += static_cast<double>(load_any(row, x.type, k)) * static_cast<double>(w[k]);
      if (bias != nullptr) sum += static_cast<double>(load_any(bias->data, bias->type, n));
      store_any(row_at(out, m), out.type, n, static_cast<float>(sum));
    }
  }
  return SPF_OK;
}

} // namespace spf::linear

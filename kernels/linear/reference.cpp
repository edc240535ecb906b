// The meaning of linear and scaled_linear, in loops to check by hand:
//   linear         out[m,n] = round(sum over k of x[m,k] * W[n,k], in fp64 and in the order of k, plus bias[n])
//   scaled_linear  the same with x[m,k] = code * x_scale[m, group of k], the sum times channel_scale[n], and where
//   there
//                  are zero points the exact sum of codes less azp[m] * azp_adj[n], before any scale
// with W as spf_unpack() gives it: the layout "reference" (src/pack/reference.hpp) holds codes in rows, and scales and
// zeros as f32.
#include <cstring>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/linear/args.h"

namespace spf::linear {
namespace {

class WeightRows {
 public:
  explicit WeightRows(const spf_packed_weight& packed)
      : scheme_(packed.scheme),
        k_(packed.k),
        data_(static_cast<const char*>(packed.data)),
        bits_(scalar_info(scheme_.weight).bits) {
    groups_ = scheme_.group_k > 0 ? (k_ + scheme_.group_k - 1) / scheme_.group_k : 1;
    if (packed.scales_offset != 0) scales_ = reinterpret_cast<const float*>(data_ + packed.scales_offset);
    if (packed.zeros_offset != 0) zeros_ = reinterpret_cast<const float*>(data_ + packed.zeros_offset);
    if (packed.g_idx_offset != 0) g_idx_ = reinterpret_cast<const int32_t*>(data_ + packed.g_idx_offset);
    if (packed.global_offset != 0) std::memcpy(&global_, data_ + packed.global_offset, sizeof global_);
  }

  // The number that the code of W[n,k] stands for.
  float code(int64_t n, int64_t k) const { return static_cast<float>(decode(scheme_.weight, raw(n, k))); }
  // The scale of row n, where it has one.
  float row_scale(int64_t n) const { return scales_ == nullptr ? 1.0f : scales_[n * groups_]; }

  // The value of W[n,k] in f32; see spf_zero_point_kind.
  float operator()(int64_t n, int64_t k) const {
    const float code = this->code(n, k);
    if (scales_ == nullptr) return code;
    const int64_t group = g_idx_ != nullptr ? g_idx_[k] : scheme_.group_k > 0 ? k / scheme_.group_k : 0;
    const int64_t at = n * groups_ + group;
    float value;
    if (scheme_.zero == SPF_ZERO_INTEGER)
      value = (code - zeros_[at]) * scales_[at];
    else
      value = code * scales_[at];
    if (scheme_.zero == SPF_ZERO_MINIMUM) value -= zeros_[at];
    return value * global_;
  }

 private:
  uint32_t raw(int64_t n, int64_t k) const {
    const char* row = data_ + n * ((k_ * bits_ + 7) / 8);
    if (bits_ == 4) return static_cast<uint32_t>(row[k / 2]) >> (4 * (k % 2)) & 15u;
    uint32_t code = 0;
    std::memcpy(&code, row + k * (bits_ / 8), static_cast<size_t>(bits_ / 8));
    return code;
  }

  spf_quant_scheme scheme_;
  int64_t k_, groups_ = 1;
  const char* data_;
  int bits_;
  const float* scales_ = nullptr;
  const float* zeros_ = nullptr;
  const int32_t* g_idx_ = nullptr;
  float global_ = 1.0f;
};

float load_any(const void* data, spf_scalar_type type, int64_t i) {
  if (type == SPF_S8) return load<SPF_S8>(data, i);
  if (type == SPF_E4M3) return load<SPF_E4M3>(data, i);
  float value = 0;
  with_float_type(type, [&](auto t) { value = load<decltype(t)::value>(data, i); });
  return value;
}

void store_any(void* data, spf_scalar_type type, int64_t i, float value) {
  if (type == SPF_E4M3) return store<SPF_E4M3>(data, i, value);
  with_float_type(type, [&](auto t) { store<decltype(t)::value>(data, i, value); });
}

// Of an optional operand with one element a channel or one in all.
double element(const spf_tensor* t, int64_t i, double absent) {
  return t == nullptr ? absent : static_cast<double>(load_any(t->data, t->type, i));
}

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

#include "model/linear_group.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "spearfish/spearfish.hpp"

namespace spearfish::model {
namespace {

struct FormatName {
  spf_format format;
  const char* name;
};
constexpr FormatName kUnnamed[] = {{SPF_FORMAT_GPTQ, "gptq"},   {SPF_FORMAT_GPTQ_V2, "gptq-v2"},
                                   {SPF_FORMAT_AWQ, "awq"},     {SPF_FORMAT_CT_INT, "ct"},
                                   {SPF_FORMAT_FP8, "fp8"},     {SPF_FORMAT_NVFP4, "nvfp4"},
                                   {SPF_FORMAT_MXFP4, "mxfp4"}, {SPF_FORMAT_MXFP8, "mxfp8"}};
constexpr const char* kReadOnly[] = {"iq2_xxs", "iq2_xs", "iq2_s",  "iq3_xxs", "iq3_s",
                                     "iq1_s",   "iq1_m",  "iq4_nl", "iq4_xs"};

// The scale's type is left out: writers differ in it.
bool same_meaning(const spf_quant_scheme& a, const spf_quant_scheme& b) {
  return a.format == b.format && a.weight == b.weight && a.zero == b.zero && a.group_k == b.group_k &&
         a.group_n == b.group_n && a.has_g_idx == b.has_g_idx && a.has_global_scale == b.has_global_scale &&
         a.sparsity == b.sparsity;
}

bool same_scheme(const spf_quant_scheme& a, const spf_quant_scheme& b) {
  return same_meaning(a, b) && a.scale == b.scale && a.scales_swizzled == b.scales_swizzled;
}

// The formats whose matrices lie transposed, [K, N].
bool columns_are_outputs(spf_format format) {
  return format == SPF_FORMAT_GPTQ || format == SPF_FORMAT_GPTQ_V2 || format == SPF_FORMAT_AWQ;
}

int64_t extent_bytes(const spf_tensor& view) {
  int64_t bytes = 0;
  check(spf_tensor_extent_bytes(&view, &bytes));
  return bytes;
}

bool contiguous(const spf_tensor& view) {
  int64_t step = 1;
  for (int d = view.rank; d-- > 0; step *= view.shape[d])
    if (view.shape[d] > 1 && view.stride[d] != step) return false;
  return true;
}

bool same_bytes(const spf_tensor& a, const spf_tensor& b) {
  const int64_t bytes = extent_bytes(a);
  return bytes == extent_bytes(b) && std::memcmp(a.data, b.data, static_cast<size_t>(bytes)) == 0;
}

// Whether `next` may follow `first` in one weight.
bool joins(const LinearPart& first, const LinearPart& next) {
  const spf_quantized_weight &a = *first.weight, &b = *next.weight;
  const spf_quant_scheme& s = a.scheme;
  if (!same_scheme(s, b.scheme) || a.k != b.k || first.linear->bias.type != next.linear->bias.type) return false;
  if (s.has_g_idx != 0 || s.scales_swizzled != 0 || s.group_n < 0) return false;
  if (s.group_n > 1 && (a.n % s.group_n != 0)) return false;
  if (s.has_global_scale != 0 && !same_bytes(a.global_scale, b.global_scale)) return false;
  // Zeros of several rows share a word.
  if (a.zeros.type != SPF_TYPE_NONE && (a.n % 32 != 0 || b.n % 32 != 0)) return false;
  for (const auto view : {&spf_quantized_weight::codes, &spf_quantized_weight::scales, &spf_quantized_weight::zeros})
    if ((a.*view).type != (b.*view).type || !contiguous(a.*view) || !contiguous(b.*view)) return false;
  return true;
}

} // namespace

std::string scheme_name(const spf_quant_scheme& scheme) {
  for (int32_t i = 0; const char* name = spf_quant_scheme_name(i); ++i)
    if (same_meaning(quant_scheme(name), scheme)) return name;
  for (const char* name : kReadOnly)
    if (quant_scheme(name).format == scheme.format) return name;
  std::string out = "format-" + std::to_string(scheme.format);
  for (const FormatName& f : kUnnamed)
    if (f.format == scheme.format) out = f.name;
  out += "-" + name(scheme.weight);
  if (scheme.group_n > 1) out += "-n" + std::to_string(scheme.group_n);
  if (scheme.group_k > 0) out += "-g" + std::to_string(scheme.group_k);
  if (scheme.zero == SPF_ZERO_INTEGER) out += "-asym";
  if (scheme.has_g_idx != 0) out += "-ordered";
  return out;
}

std::string LinearGroup::name() const {
  std::string out;
  for (const LinearPart& part : parts) {
    const std::string& full = part.linear->name;
    out += out.empty() ? full : ", " + full.substr(full.rfind('.') + 1);
  }
  return out;
}

std::vector<LinearGroup> group_linears(const std::vector<LinearPart>& parts) {
  std::vector<LinearGroup> groups;
  for (const LinearPart& part : parts) {
    if (groups.empty() || !joins(groups.back().parts.back(), part)) {
      groups.emplace_back();
      groups.back().scheme = part.weight->scheme;
      groups.back().k = part.weight->k;
    }
    groups.back().parts.push_back(part);
    groups.back().n += part.weight->n;
  }
  return groups;
}

JoinedWeight::JoinedWeight(const LinearGroup& group) : weight_(*group.parts.front().weight) {
  if (group.parts.size() == 1) return;
  const int dim = columns_are_outputs(group.scheme.format) ? 1 : 0;
  weight_.n = group.n;
  weight_.codes = join(group, &spf_quantized_weight::codes, dim);
  if (weight_.scales.type != SPF_TYPE_NONE) weight_.scales = join(group, &spf_quantized_weight::scales, dim);
  if (weight_.zeros.type != SPF_TYPE_NONE) weight_.zeros = join(group, &spf_quantized_weight::zeros, dim);
}

spf_tensor JoinedWeight::join(const LinearGroup& group, const spf_tensor spf_quantized_weight::*view, int dim) {
  spf_tensor out = group.parts.front().weight->*view;
  int64_t bytes = 0, extent = 0;
  for (const LinearPart& part : group.parts) {
    bytes += extent_bytes(part.weight->*view);
    extent += (part.weight->*view).shape[dim];
  }
  constexpr size_t kAlignment = 64;
  memory_.push_back(std::make_unique<std::byte[]>(static_cast<size_t>(bytes) + kAlignment));
  void* memory = memory_.back().get();
  size_t room = static_cast<size_t>(bytes) + kAlignment;
  auto* to = static_cast<std::byte*>(std::align(kAlignment, static_cast<size_t>(bytes), memory, room));
  out.data = to;
  // Rows of the joined matrix: the parts' rows one after the other, or for dim 1 each row made of the parts' rows.
  const int64_t rows = dim == 0 ? 1 : out.shape[0];
  for (int64_t row = 0; row < rows; ++row)
    for (const LinearPart& part : group.parts) {
      const spf_tensor& from = part.weight->*view;
      const auto row_bytes = static_cast<size_t>(extent_bytes(from) / rows);
      std::memcpy(to, static_cast<const std::byte*>(from.data) + static_cast<size_t>(row) * row_bytes, row_bytes);
      to += row_bytes;
    }
  out.shape[dim] = extent;
  for (int64_t d = out.rank, step = 1; d-- > 0; step *= out.shape[d]) out.stride[d] = step;
  return out;
}

} // namespace spearfish::model

#include "model/dtype.hpp"

#include <array>

namespace spearfish::model {
namespace {

constexpr DtypeInfo plain(Dtype d, const char* name, const char* st, int gguf, int bytes, spf_scalar_type s,
                          bool weight = false) {
  return {d, name, st, gguf, 1, bytes, s, weight ? SPF_FORMAT_PLAIN : SPF_FORMAT_NONE};
}
constexpr DtypeInfo block(Dtype d, const char* name, int gguf, int elements, int bytes,
                          spf_format format = SPF_FORMAT_NONE) {
  return {d, name, nullptr, gguf, elements, bytes, SPF_TYPE_NONE, format};
}

constexpr std::array<DtypeInfo, kDtypeCount> kTable = {{
    plain(Dtype::kBool, "bool", "BOOL", -1, 1, SPF_BOOL),
    plain(Dtype::kU8, "u8", "U8", -1, 1, SPF_U8),
    plain(Dtype::kI8, "s8", "I8", 24, 1, SPF_S8),
    plain(Dtype::kF8E5M2, "e5m2", "F8_E5M2", -1, 1, SPF_E5M2),
    plain(Dtype::kF8E4M3, "e4m3", "F8_E4M3", -1, 1, SPF_E4M3),
    plain(Dtype::kF8E8M0, "e8m0", "F8_E8M0", -1, 1, SPF_E8M0),
    {Dtype::kF4E2M1, "e2m1", "F4", -1, 2, 1, SPF_E2M1, SPF_FORMAT_NONE},
    plain(Dtype::kI16, "i16", "I16", 25, 2, SPF_TYPE_NONE),
    plain(Dtype::kU16, "u16", "U16", -1, 2, SPF_TYPE_NONE),
    plain(Dtype::kF16, "f16", "F16", 1, 2, SPF_F16, true),
    plain(Dtype::kBF16, "bf16", "BF16", 30, 2, SPF_BF16, true),
    plain(Dtype::kI32, "i32", "I32", 26, 4, SPF_I32),
    plain(Dtype::kU32, "u32", "U32", -1, 4, SPF_TYPE_NONE),
    plain(Dtype::kF32, "f32", "F32", 0, 4, SPF_F32, true),
    plain(Dtype::kF64, "f64", "F64", 28, 8, SPF_TYPE_NONE),
    plain(Dtype::kI64, "i64", "I64", 27, 8, SPF_I64),
    plain(Dtype::kU64, "u64", "U64", -1, 8, SPF_TYPE_NONE),
    block(Dtype::kQ4_0, "q4_0", 2, 32, 18, SPF_FORMAT_Q4_0),
    block(Dtype::kQ4_1, "q4_1", 3, 32, 20, SPF_FORMAT_Q4_1),
    block(Dtype::kQ5_0, "q5_0", 6, 32, 22, SPF_FORMAT_Q5_0),
    block(Dtype::kQ5_1, "q5_1", 7, 32, 24, SPF_FORMAT_Q5_1),
    block(Dtype::kQ8_0, "q8_0", 8, 32, 34, SPF_FORMAT_Q8_0),
    block(Dtype::kQ8_1, "q8_1", 9, 32, 36),
    block(Dtype::kQ2_K, "q2_k", 10, 256, 84, SPF_FORMAT_Q2_K),
    block(Dtype::kQ3_K, "q3_k", 11, 256, 110, SPF_FORMAT_Q3_K),
    block(Dtype::kQ4_K, "q4_k", 12, 256, 144, SPF_FORMAT_Q4_K),
    block(Dtype::kQ5_K, "q5_k", 13, 256, 176, SPF_FORMAT_Q5_K),
    block(Dtype::kQ6_K, "q6_k", 14, 256, 210, SPF_FORMAT_Q6_K),
    block(Dtype::kQ8_K, "q8_k", 15, 256, 292),
    block(Dtype::kIQ2_XXS, "iq2_xxs", 16, 256, 66, SPF_FORMAT_IQ2_XXS),
    block(Dtype::kIQ2_XS, "iq2_xs", 17, 256, 74, SPF_FORMAT_IQ2_XS),
    block(Dtype::kIQ3_XXS, "iq3_xxs", 18, 256, 98, SPF_FORMAT_IQ3_XXS),
    block(Dtype::kIQ1_S, "iq1_s", 19, 256, 50, SPF_FORMAT_IQ1_S),
    block(Dtype::kIQ4_NL, "iq4_nl", 20, 32, 18, SPF_FORMAT_IQ4_NL),
    block(Dtype::kIQ3_S, "iq3_s", 21, 256, 110, SPF_FORMAT_IQ3_S),
    block(Dtype::kIQ2_S, "iq2_s", 22, 256, 82, SPF_FORMAT_IQ2_S),
    block(Dtype::kIQ4_XS, "iq4_xs", 23, 256, 136, SPF_FORMAT_IQ4_XS),
    block(Dtype::kIQ1_M, "iq1_m", 29, 256, 56, SPF_FORMAT_IQ1_M),
    block(Dtype::kTQ1_0, "tq1_0", 34, 256, 54),
    block(Dtype::kTQ2_0, "tq2_0", 35, 256, 66),
    block(Dtype::kMXFP4Block, "mxfp4_block", 39, 32, 17),
}};

constexpr bool in_order() {
  for (int i = 0; i < kDtypeCount; ++i)
    if (static_cast<int>(kTable[static_cast<size_t>(i)].dtype) != i) return false;
  return true;
}
static_assert(in_order(), "kTable stands in the order of the enum");

} // namespace

const DtypeInfo& dtype_info(Dtype dtype) { return kTable[static_cast<size_t>(dtype)]; }

std::optional<Dtype> dtype_from_safetensors(std::string_view name) {
  for (const DtypeInfo& info : kTable)
    if (info.safetensors != nullptr && name == info.safetensors) return info.dtype;
  return std::nullopt;
}

std::optional<Dtype> dtype_from_gguf(uint64_t number) {
  for (const DtypeInfo& info : kTable)
    if (info.gguf >= 0 && number == static_cast<uint64_t>(info.gguf)) return info.dtype;
  return std::nullopt;
}

int64_t TensorEntry::elements() const noexcept {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string TensorEntry::shape_text() const { return model::shape_text(shape); }

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::optional<uint64_t> tensor_bytes(Dtype dtype, const std::vector<int64_t>& shape) {
  const DtypeInfo& info = dtype_info(dtype);
  constexpr uint64_t kLimit = uint64_t{1} << 62;
  const int64_t last = shape.empty() ? 1 : shape.back();
  if (last % info.block_elements != 0) return std::nullopt;
  uint64_t count = static_cast<uint64_t>(info.block_bytes);
  bool empty = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t extent = i + 1 == shape.size() ? shape[i] / info.block_elements : shape[i];
    if (extent < 0) return std::nullopt;
    if (extent == 0) {
      empty = true; // the other extents must still be sane
      continue;
    }
    if (count > kLimit / static_cast<uint64_t>(extent)) return std::nullopt;
    count *= static_cast<uint64_t>(extent);
  }
  return empty ? 0 : count;
}

} // namespace spearfish::model

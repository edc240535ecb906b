#include "pack/bf16_rows.hpp"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/scalar.hpp"
#include "core/status.hpp"

namespace spf::pack {
namespace {

bool accepts(const spf_quant_scheme& s, const char** why) {
  if (s.format == SPF_FORMAT_MXFP8) return true;
  *why = "holds MXFP8";
  return false;
}

void describe_header(spf_packed_weight& header) {
  header.padded_n = header.n;
  header.padded_k = header.k;
  Sections sections;
  sections.add(static_cast<size_t>(header.n * header.k) * sizeof(uint16_t));
  header.bytes = sections.total();
}

spf_status pack_rows(const formats::Decoder& weight, const spf_packed_weight& header) {
  auto* to = static_cast<uint16_t*>(header.data);
  std::vector<float> values(static_cast<size_t>(header.k));
  for (int64_t n = 0; n < header.n; ++n) {
    weight.dequantize_row(n, values.data());
    for (int64_t k = 0; k < header.k; ++k) {
      const float value = values[static_cast<size_t>(k)];
      const uint16_t code = f32_to_bf16(value);
      // The f32 number may itself be infinite where the weight is not; such weights are left to others too.
      if (!std::isnan(value) && (std::isinf(value) || bf16_to_f32(code) != value))
        return fail(SPF_UNSUPPORTED, "pack", "pack", "values[" + std::to_string(n) + ", " + std::to_string(k) + "]",
                    std::to_string(value), "numbers that bf16 holds");
      *to++ = code;
    }
  }
  return SPF_OK;
}

spf_status unpack_rows(const spf_packed_weight& header, float* out) {
  const auto* from = static_cast<const uint16_t*>(header.data);
  for (int64_t i = 0; i < header.n * header.k; ++i) out[i] = bf16_to_f32(from[i]);
  return SPF_OK;
}

} // namespace

const LayoutRow kBf16RowsLayout = {"bf16_rows", 1, accepts, describe_header, pack_rows, unpack_rows};

} // namespace spf::pack

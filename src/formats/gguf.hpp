// What the GGUF block formats share. A weight is u8 [N, ceil(K / values) * bytes]: every row a run of blocks; a last
// block that K does not fill is padded. All numbers in a block are little endian, all floats are f16.
#pragma once

#include <cstring>

#include "formats/formats.hpp"

namespace spf::formats {

inline float read_f16(const uint8_t* at) {
  uint16_t code;
  std::memcpy(&code, at, 2);
  return f16_to_f32(code);
}
inline void write_f16(uint8_t* at, float value) {
  const uint16_t code = f32_to_f16(value);
  std::memcpy(at, &code, 2);
}
inline uint32_t read_u16(const uint8_t* at) {
  uint16_t value;
  std::memcpy(&value, at, 2);
  return value;
}
inline uint32_t read_u32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, 4);
  return value;
}

// What is fixed by the format: the scheme's types and the block.
template <spf_scalar_type Weight, spf_zero_point_kind Zero, int Group>
spf_status check_gguf(const spf_quant_scheme& s, const char* op) {
  return SchemeRule{op, "gguf", s}
      .weight(Weight)
      .scale(SPF_F16)
      .one_of("zero", s.zero, {Zero})
      .one_of("group_k", s.group_k, {Group})
      .one_of("group_n", s.group_n, {1})
      .no_g_idx()
      .no_global()
      .not_swizzled()
      .status;
}

template <int Values, int Bytes>
ViewSpecs gguf_views(const Extents& e) {
  return {.codes = {SPF_U8, e.n, ceil_div(e.k, Values) * Bytes, true}};
}

template <spf_scalar_type Weight, spf_zero_point_kind Zero, int Values, int Bytes, int Group>
constexpr Format gguf_format(spf_format id, const char* name, const BlockFormat* block) {
  return {.id = id,
          .name = name,
          .check_scheme = check_gguf<Weight, Zero, Group>,
          .views = gguf_views<Values, Bytes>,
          .code_place = nullptr,
          .scale_place = nullptr,
          .zero_place = nullptr,
          .zero_offset = 0,
          .block = block};
}

} // namespace spf::formats

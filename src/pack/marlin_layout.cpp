// Layouts "marlin" (16-bit activations), "marlin_a8" (s8 activations) and "marlin_a8_e4m3" (e4m3 activations).
//
// n is padded to 64, k to 16 (8-bit activations: 32). Sections:
//
//   codes   32-bit words in the order of marlin.hpp; fp8 and fp4 codes are their raw bits; s8 codes are stored as
//   u8b128;
//           4-bit integers for e4m3 activations pass e4m3_code(). Padding decodes to 0.
//   scales  [groups, padded_n], columns permuted (marlin.hpp), padding 0:
//             integers   the scheme's scale type, times 512 for e4m3 activations
//             fp8        f16 times 2^8, bf16 times 2^120, f32 as it is; for e4m3 activations all as they are
//             NVFP4      S0E5M3 bytes; MXFP4 e8m0 bytes (for e4m3 activations the exponent + 6)
//           one row for per-channel and per-tensor scales; blocks of 128 x 128 become one row a block
//   zeros   i32 [groups, padded_n / pf], integers with zero points only
//   g_idx   i32 [2, padded_k], act order only: the sorted groups, then perm = the column that each sorted row came from
//   global  f32 [1] as the scheme has it, NVFP4 only
//
// What this order cannot hold exactly is refused: zero points beyond the code's range, negative or NaN block scales,
// scales that overflow with their factor.
#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "core/marlin_formats.hpp"
#include "core/status.hpp"
#include "pack/marlin.hpp"

namespace spf::pack {
namespace {

using formats::Decoder;
using marlin::Act;

constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

bool is_fp4(const spf_quant_scheme& s) { return s.weight == SPF_E2M1; }
bool is_integer(const spf_quant_scheme& s) { return !scalar_info(s.weight).is_float(); }

// ---- which schemes
// ---------------------------------------------------------------------------------------------------

template <Act A>
bool accepts(const spf_quant_scheme& s, const char** why) {
  constexpr bool kAct8 = A != Act::k16;
  const auto no = [&](const char* reason) {
    *why = reason;
    return false;
  };
  if (!has_marlin_form(s.format))
    return no("GPTQ, AWQ, compressed-tensors, fp8, NVFP4, MXFP4, and GGUF formats with one f16 scale a block");
  if (s.format == SPF_FORMAT_FP8 && s.group_n > 1 && (s.group_k <= 0 || s.group_n % 16 != 0))
    return no("fp8 block scales in blocks of whole tiles");
  if (s.group_k > 0 && s.group_k % (kAct8 && s.weight != SPF_E2M1 ? 32 : 16) != 0)
    return no(kAct8 ? "group sizes that are multiples of 32" : "group sizes that are multiples of 16");
  if (kAct8 && s.has_g_idx) return no("no act order with 8-bit activations");
  if (A == Act::kS8 && !is_integer(s)) return no("integer weights with s8 activations");
  if (A == Act::kE4M3 && s.format == SPF_FORMAT_NVFP4)
    return no("integer, fp8 and MXFP4 weights with e4m3 activations");
  if (A == Act::kE4M3 && is_integer(s) && scalar_info(s.weight).bits != 4)
    return no("4-bit integers with e4m3 activations");
  return true;
}

// ---- one view of the sections, for writing and reading --------------------------------------------------------------

template <Act A>
struct View {
  static constexpr bool kAct8 = A != Act::k16;
  const spf_packed_weight& header;
  int64_t groups;
  int bits;
  bool in_64;

  explicit View(const spf_packed_weight& h)
      : header(h),
        groups(formats::extents_of(h.scheme, h.n, h.k).groups),
        bits(scalar_info(h.scheme.weight).bits),
        in_64(marlin::scales_in_64(h.k, h.scheme.group_k, kAct8)) {}

  int scale_bytes() const { return storage_bytes(header.scheme.scale); }
  template <class T>
  T* section(size_t offset) const {
    return reinterpret_cast<T*>(static_cast<char*>(header.data) + offset);
  }

  marlin::Slot slot(int64_t k, int64_t n) const {
    return bits == 4 ? marlin::slot<4, kAct8>(k, n, header.padded_n) : marlin::slot<8, kAct8>(k, n, header.padded_n);
  }
  uint32_t code(int64_t k, int64_t n) const {
    const marlin::Slot at = slot(k, n);
    return (section<uint32_t>(0)[at.word] >> at.shift) & ((1u << bits) - 1);
  }
  // Codes of kTileN columns from n0 on, `k` of each: code(r, c) of row r and column n0 + c. A tile at a time, so that
  // its words stay close.
  template <class Code>
  void put_columns(int64_t n0, const Code& code) const {
    if (bits == 4)
      put_tiles<4>(n0, code);
    else
      put_tiles<8>(n0, code);
  }

  static constexpr int kTileK = kAct8 ? 32 : 16, kTileN = kAct8 ? 32 : 64;

  template <int Bits, class Code>
  void put_tiles(int64_t n0, const Code& code) const {
    static constexpr auto kSlots = [] {
      std::array<std::array<marlin::Slot, kTileN>, kTileK> slots{};
      for (int r = 0; r < kTileK; ++r)
        for (int c = 0; c < kTileN; ++c)
          slots[static_cast<size_t>(r)][static_cast<size_t>(c)] = marlin::slot<Bits, kAct8>(r, c, kTileN);
      return slots;
    }();
    constexpr int64_t kWords = 1024 * Bits / 32;
    for (int64_t r0 = 0; r0 < header.padded_k; r0 += kTileK) {
      uint32_t* tile = section<uint32_t>(0) + (r0 / kTileK * (header.padded_n / kTileN) + n0 / kTileN) * kWords;
      for (int c = 0; c < kTileN; ++c)
        for (int r = 0; r < kTileK; ++r) {
          const marlin::Slot at = kSlots[static_cast<size_t>(r)][static_cast<size_t>(c)];
          tile[at.word] |= code(r0 + r, c) << at.shift;
        }
    }
  }

  // Factor that the stored scale carries.
  float scale_factor() const {
    const spf_quant_scheme& s = header.scheme;
    if (is_fp4(s)) return 1.0f;
    if (is_integer(s)) return A == Act::kE4M3 ? 512.0f : 1.0f;
    if (A == Act::kE4M3 || s.scale == SPF_F32) return 1.0f;
    return marlin::fp8_scale_factor(s.scale);
  }
  int64_t scale_source(int64_t p) const {
    return is_fp4(header.scheme) ? marlin::fp4_scale_source(p, in_64, kAct8) : marlin::scale_source(p, in_64);
  }
  uint32_t scale_to_raw(float value) const {
    const spf_quant_scheme& s = header.scheme;
    if (s.format == SPF_FORMAT_NVFP4) return marlin::nvfp4_scale_byte(value);
    if (s.format == SPF_FORMAT_MXFP4) return f32_to_e8m0(value) + (kAct8 ? 6u : 0u);
    return formats::scale_code(s.scale, value * scale_factor());
  }
  float scale_from_raw(uint32_t raw) const {
    const spf_quant_scheme& s = header.scheme;
    if (s.format == SPF_FORMAT_NVFP4) return marlin::nvfp4_scale_from_byte(static_cast<uint8_t>(raw));
    if (s.format == SPF_FORMAT_MXFP4) return e8m0_to_f32(static_cast<uint8_t>(raw - (kAct8 ? 6 : 0)));
    return formats::scale_value(s.scale, raw) / scale_factor();
  }
  // Whether a scale comes back as it was.
  bool holds(float value) const {
    const spf_quant_scheme& s = header.scheme;
    if (s.format == SPF_FORMAT_MXFP4) return !kAct8 || value <= 0x1p116f; // exponent + 6 at most 249
    if (s.format == SPF_FORMAT_NVFP4 && !(value >= 0.0f)) return false;
    const float back = scale_from_raw(scale_to_raw(value));
    return std::bit_cast<uint32_t>(back) == std::bit_cast<uint32_t>(value);
  }
};

template <Act A>
void describe(spf_packed_weight& header) {
  const spf_quant_scheme& s = header.scheme;
  header.padded_n = round_up(header.n, 64);
  header.padded_k = round_up(header.k, A == Act::k16 ? 16 : 32);
  const View<A> view(header);
  const auto columns = static_cast<size_t>(view.groups * header.padded_n);
  Sections sections;
  sections.add(static_cast<size_t>(header.padded_n * header.padded_k) * static_cast<size_t>(view.bits) / 8);
  header.scales_offset = sections.add(columns * static_cast<size_t>(view.scale_bytes()));
  if (s.zero == SPF_ZERO_INTEGER) header.zeros_offset = sections.add(columns * static_cast<size_t>(view.bits) / 8);
  if (s.has_g_idx) header.g_idx_offset = sections.add(2 * static_cast<size_t>(header.padded_k) * sizeof(int32_t));
  if (s.has_global_scale) header.global_offset = sections.add(sizeof(float));
  header.bytes = sections.total();
}

template <Act A>
spf_status pack(const Decoder& weight, const spf_packed_weight& header) {
  const View<A> view(header);
  const spf_quant_scheme& s = header.scheme;
  const bool asymmetric = s.zero == SPF_ZERO_INTEGER, mapped = A == Act::kE4M3 && is_integer(s);
  const auto refuse = [&](const char* field, int64_t n, int64_t g, float value, const char* allowed) {
    return fail(SPF_UNSUPPORTED, "pack", "pack",
                std::string(field) + "[n " + std::to_string(n) + ", group " + std::to_string(g) + "]",
                std::to_string(value), allowed);
  };

  // Sorted rows: row r of the packed weight is column perm[r]. Padding rows follow and keep the last group.
  std::vector<int32_t> perm(static_cast<size_t>(header.padded_k));
  std::iota(perm.begin(), perm.end(), 0);
  if (s.has_g_idx) {
    const auto by_group = [&](int32_t a, int32_t b) { return weight.group(a) < weight.group(b); };
    std::stable_sort(perm.begin(), perm.begin() + header.k, by_group);
    int32_t* sorted = view.template section<int32_t>(header.g_idx_offset);
    for (int64_t r = 0; r < header.padded_k; ++r) {
      const int64_t from = std::min(r, header.k - 1);
      sorted[r] = static_cast<int32_t>(weight.group(perm[static_cast<size_t>(from)]));
      sorted[header.padded_k + r] = perm[static_cast<size_t>(r)];
    }
  }

  constexpr int64_t kColumns = View<A>::kTileN;
  std::vector<uint8_t> codes(static_cast<size_t>(kColumns * header.k));
  std::vector<float> scales(static_cast<size_t>(view.groups)), zeros(scales.size());
  std::vector<float> all_scales(static_cast<size_t>(view.groups * header.padded_n));
  std::vector<uint32_t> all_zeros(asymmetric ? all_scales.size() : 0);
  const uint32_t flip = s.weight == SPF_S8 ? 0x80 : 0; // s8 -> u8b128
  const uint32_t middle = s.weight == SPF_U4B8 ? 8 : s.weight == SPF_U8B128 || s.weight == SPF_S8 ? 128 : 0;
  for (int64_t n0 = 0; n0 < header.padded_n; n0 += kColumns) {
    const int64_t columns = std::clamp<int64_t>(header.n - n0, 0, kColumns);
    for (int64_t n = n0; n < n0 + columns; ++n) {
      weight.codes_row(n, codes.data() + (n - n0) * header.k);
      weight.scales_row(n, scales.data(), zeros.data());
      for (int64_t g = 0; g < view.groups; ++g) {
        const float scale = scales[static_cast<size_t>(g)], zero = zeros[static_cast<size_t>(g)];
        if (!view.holds(scale)) return refuse("scale", n, g, scale, "scales that this layout holds exactly");
        all_scales[static_cast<size_t>(g * header.padded_n + n)] = scale;
        if (!asymmetric) continue;
        if (zero > static_cast<float>((1 << view.bits) - 1))
          return refuse("zero", n, g, zero, "zero points of the code's range");
        all_zeros[static_cast<size_t>(g * header.padded_n + n)] = static_cast<uint32_t>(zero);
      }
    }
    view.put_columns(n0, [&](int64_t r, int64_t c) {
      const bool inside = c < columns && r < header.k;
      const int32_t k = perm[static_cast<size_t>(r)];
      uint32_t zero = middle;
      if (asymmetric && (mapped || !inside)) {
        const int64_t g = header.k == 0 ? 0 : weight.group(inside ? k : perm[static_cast<size_t>(header.k - 1)]);
        zero = view.groups == 0 ? 0 : all_zeros[static_cast<size_t>(g * header.padded_n + n0 + c)];
      }
      const uint32_t code = inside ? codes[static_cast<size_t>(c * header.k + k)] ^ flip : zero;
      return mapped ? marlin::e4m3_code(code, zero) : code;
    });
  }

  for (int64_t g = 0; g < view.groups; ++g) {
    const size_t row = static_cast<size_t>(g * header.padded_n);
    for (int64_t p = 0; p < header.padded_n; ++p) {
      const auto source = static_cast<size_t>(view.scale_source(p));
      if (static_cast<int64_t>(source) >= header.n) continue; // padding stays 0, in every scale type
      const uint32_t raw = view.scale_to_raw(all_scales[row + source]);
      std::memcpy(view.template section<char>(header.scales_offset) +
                      (row + static_cast<size_t>(p)) * static_cast<size_t>(view.scale_bytes()),
                  &raw, static_cast<size_t>(view.scale_bytes()));
    }
    if (!asymmetric) continue;
    const int pf = 32 / view.bits;
    for (int64_t p = 0; p < header.padded_n; ++p) {
      const auto source = static_cast<size_t>(marlin::zero_source(p, view.bits, View<A>::kAct8));
      view.template section<uint32_t>(header.zeros_offset)[(static_cast<int64_t>(row) + p) / pf] |=
          all_zeros[row + source] << (p % pf * view.bits);
    }
  }
  if (s.has_global_scale) *view.template section<float>(header.global_offset) = weight.global_scale();
  return SPF_OK;
}

template <Act A>
spf_status unpack(const spf_packed_weight& header, float* out) {
  const View<A> view(header);
  const spf_quant_scheme& s = header.scheme;
  const bool asymmetric = s.zero == SPF_ZERO_INTEGER, mapped = A == Act::kE4M3 && is_integer(s);
  const auto size = static_cast<size_t>(view.groups * header.padded_n);
  std::vector<float> scales(size);
  std::vector<uint32_t> zeros(size, s.weight == SPF_U4B8 ? 8 : 0);
  for (int64_t g = 0; g < view.groups; ++g)
    for (int64_t p = 0; p < header.padded_n; ++p) {
      const int64_t row = g * header.padded_n;
      uint32_t raw = 0;
      std::memcpy(&raw, view.template section<char>(header.scales_offset) + (row + p) * view.scale_bytes(),
                  static_cast<size_t>(view.scale_bytes()));
      scales[static_cast<size_t>(row + view.scale_source(p))] = view.scale_from_raw(raw);
      if (!asymmetric) continue;
      const int pf = 32 / view.bits;
      const uint32_t word = view.template section<uint32_t>(header.zeros_offset)[(row + p) / pf];
      zeros[static_cast<size_t>(row + marlin::zero_source(p, view.bits, View<A>::kAct8))] =
          (word >> (p % pf * view.bits)) & ((1u << view.bits) - 1);
    }
  const formats::CodeTable table(s.weight == SPF_S8 ? SPF_U8B128 : s.weight);
  const float global = s.has_global_scale ? *view.template section<float>(header.global_offset) : 1.0f;
  const int32_t* sorted = view.template section<int32_t>(header.g_idx_offset);
  if (s.has_g_idx) {
    if (spf_status st = check_indices("g_idx", sorted, header.k, view.groups)) return st;
    if (spf_status st = check_indices("perm", sorted + header.padded_k, header.k, header.k)) return st;
  }
  for (int64_t n = 0; n < header.n; ++n)
    for (int64_t r = 0; r < header.k; ++r) {
      const int64_t g = s.has_g_idx ? sorted[r] : s.group_k > 0 ? r / s.group_k : 0;
      const int64_t k = s.has_g_idx ? sorted[header.padded_k + r] : r;
      const auto at = static_cast<size_t>(g * header.padded_n + n);
      const uint32_t code = mapped ? marlin::e4m3_code_inverse(view.code(r, n), zeros[at]) : view.code(r, n);
      out[n * header.k + k] =
          formats::dequantize(s.zero, table.value[code], scales[at], static_cast<float>(asymmetric ? zeros[at] : 0)) *
          global;
    }
  return SPF_OK;
}

template <Act A>
constexpr LayoutRow row(const char* name) {
  return {name, 1, accepts<A>, describe<A>, pack<A>, unpack<A>};
}

} // namespace

const LayoutRow kMarlinLayout = row<Act::k16>("marlin");
const LayoutRow kMarlinA8Layout = row<Act::kS8>("marlin_a8");
const LayoutRow kMarlinA8E4m3Layout = row<Act::kE4M3>("marlin_a8_e4m3");

} // namespace spf::pack

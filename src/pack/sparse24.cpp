#include "pack/sparse24.hpp"

#include <cstring>
#include <string>

#include "core/scalar.hpp"
#include "core/status.hpp"

namespace spf::pack {
namespace {

constexpr int64_t kRows = 64, kRowBytes = 64;
constexpr int kFour = 4; // neighbours along K of which two are kept

// Where the parts of a group of four lie. `width`: bytes of a code.
struct Places {
  int64_t block; // byte offset of the group's block
  int64_t codes; // of its first code; the second stands behind it
  int64_t word;  // of the word that holds its places
  int shift;     // of their bits
};

int width_of(const spf_quant_scheme& s) { return scalar_info(s.weight).bits / 8; }
int64_t block_values(int width) { return 2 * kRowBytes / width; }
int64_t block_bytes(int width) { return kRows * (kRowBytes + block_values(width) / 8); }

Places places_of(const spf_packed_weight& p, int64_t n, int64_t group) {
  const int width = width_of(p.scheme);
  const int64_t in_block = block_values(width), r = n % kRows, k = group * kFour % in_block,
                lane = r / 16 * 32 + r % 8 * 4;
  const int64_t high = r / 8 % 2, byte = k / 2 * width;
  Places at = {};
  at.block = (n / kRows * (p.padded_k / in_block) + group * kFour / in_block) * block_bytes(width);
  at.codes = at.block + r * kRowBytes + (byte / 16 ^ r / 2 % 4) * 16 + byte % 16;
  const int64_t words = at.block + kRows * kRowBytes;
  if (width == 1) {
    at.word = words + (k / 64 * 128 + lane + k / 32 % 2 * 2 + high) * 4;
    at.shift = static_cast<int>(k / 4 % 8 * 4);
  } else {
    at.word = words + (lane + k / 32 * 2 + k / 16 % 2) * 4;
    at.shift = static_cast<int>(high * 16 + k / 4 % 4 * 4);
  }
  return at;
}

spf_scalar_type stored_type(spf_scalar_type weight) { return weight == SPF_U8B128 ? SPF_S8 : weight; }
uint32_t stored_code(spf_scalar_type weight, uint32_t code) { return weight == SPF_U8B128 ? code ^ 128 : code; }
bool is_zero(spf_scalar_type stored, uint32_t code) { return decode(stored, code) == 0; }

bool accepts(const spf_quant_scheme& s, const char** why) {
  if (s.sparsity != SPF_SPARSITY_2_OF_4)
    *why = "holds 2:4 sparse weights (scheme.sparsity)";
  else if (s.weight != SPF_E4M3 && s.weight != SPF_S8 && s.weight != SPF_U8B128 && s.weight != SPF_F16 &&
           s.weight != SPF_BF16)
    *why = "holds e4m3, s8, u8b128, f16 and bf16 codes";
  else if (s.zero != SPF_ZERO_NONE || s.has_g_idx || s.has_global_scale)
    *why = "holds no zero points, no act order and no global scale";
  else if (s.group_k > 0)
    *why = "holds one scale of all of K";
  else
    return true;
  return false;
}

void describe_header(spf_packed_weight& header) {
  const int width = width_of(header.scheme);
  const int64_t values = block_values(width);
  header.padded_n = (header.n + kRows - 1) / kRows * kRows;
  header.padded_k = (header.k + values - 1) / values * values;
  Sections sections;
  sections.add(static_cast<size_t>(header.padded_n / kRows * (header.padded_k / values) * block_bytes(width)));
  if (header.scheme.format != SPF_FORMAT_PLAIN)
    header.scales_offset = sections.add(static_cast<size_t>(header.padded_n) * sizeof(float));
  header.bytes = sections.total();
}

// Which two of four codes are kept: first what is not 0, then negative zeros, then any. The third that is not 0, or -1.
struct Kept {
  int place[2];
  int third;
};
Kept choose(spf_scalar_type stored, const uint32_t (&codes)[kFour]) {
  Kept kept = {{-1, -1}, -1};
  int count = 0;
  bool taken[kFour] = {};
  for (int wanted = 0; wanted < 3; ++wanted)
    for (int i = 0; i < kFour; ++i) {
      const int kind = !is_zero(stored, codes[i]) ? 0 : codes[i] != 0 ? 1 : 2;
      if (kind != wanted) continue;
      if (count < 2) {
        taken[i] = true;
        ++count;
      } else if (kind == 0 && kept.third < 0) {
        kept.third = i;
      }
    }
  for (int i = kFour - 1; i >= 0; --i)
    if (taken[i]) kept.place[--count] = i;
  return kept;
}

spf_status pack_sparse(const formats::Decoder& weight, const spf_packed_weight& header) {
  auto* bytes = static_cast<uint8_t*>(header.data);
  const spf_scalar_type type = header.scheme.weight, stored = stored_type(type);
  const auto width = static_cast<size_t>(width_of(header.scheme));
  for (int64_t n = 0; n < header.padded_n; ++n)
    for (int64_t group = 0; group < header.padded_k / kFour; ++group) {
      uint32_t codes[kFour] = {};
      for (int i = 0; i < kFour; ++i)
        if (n < header.n && group * kFour + i < header.k)
          codes[i] = stored_code(type, weight.code(n, group * kFour + i));
      const Kept kept = choose(stored, codes);
      if (kept.third >= 0) {
        const std::string row = std::to_string(n);
        return fail(SPF_UNSUPPORTED, "pack", "pack",
                    "codes[" + row + ", " + std::to_string(group * kFour + kept.third) + "]",
                    std::to_string(decode(stored, codes[kept.third])),
                    "0: row " + row + " has two other values in columns " + std::to_string(group * kFour) + " to " +
                        std::to_string(group * kFour + kFour - 1));
      }
      const Places at = places_of(header, n, group);
      for (size_t j = 0; j < 2; ++j)
        std::memcpy(bytes + at.codes + static_cast<int64_t>(j * width), &codes[kept.place[j]], width);
      uint32_t word;
      std::memcpy(&word, bytes + at.word, sizeof word);
      word |= static_cast<uint32_t>(kept.place[0] | kept.place[1] << 2) << at.shift;
      std::memcpy(bytes + at.word, &word, sizeof word);
    }
  if (header.scales_offset == 0) return SPF_OK;
  for (int64_t n = 0; n < header.n; ++n) reinterpret_cast<float*>(bytes + header.scales_offset)[n] = weight.scale(n, 0);
  return SPF_OK;
}

spf_status unpack_sparse(const spf_packed_weight& header, float* out) {
  const auto* bytes = static_cast<const uint8_t*>(header.data);
  const spf_scalar_type stored = stored_type(header.scheme.weight);
  const auto width = static_cast<size_t>(width_of(header.scheme));
  const bool plain = header.scheme.format == SPF_FORMAT_PLAIN;
  for (int64_t n = 0; n < header.n; ++n) {
    const float scale = plain ? 1.0f : reinterpret_cast<const float*>(bytes + header.scales_offset)[n];
    for (int64_t group = 0; group * kFour < header.k; ++group) {
      const Places at = places_of(header, n, group);
      uint32_t word, codes[kFour] = {};
      std::memcpy(&word, bytes + at.word, sizeof word);
      const uint32_t first = word >> at.shift & 3, second = word >> (at.shift + 2) & 3;
      if (first >= second)
        return fail(SPF_CORRUPT_DATA, "unpack", "unpack",
                    "places[" + std::to_string(n) + ", " + std::to_string(group) + "]",
                    std::to_string(first) + ", " + std::to_string(second), "two places of 0 to 3, ascending");
      std::memcpy(&codes[first], bytes + at.codes, width);
      std::memcpy(&codes[second], bytes + at.codes + width, width);
      for (int64_t i = 0; i < kFour && group * kFour + i < header.k; ++i) {
        const auto number = static_cast<float>(decode(stored, codes[i]));
        out[n * header.k + group * kFour + i] =
            plain ? number : formats::dequantize(SPF_ZERO_NONE, number, scale, 0.0f);
      }
    }
  }
  return SPF_OK;
}

} // namespace

const LayoutRow kSparse24Layout = {"sparse24", 1, accepts, describe_header, pack_sparse, unpack_sparse};

} // namespace spf::pack

// Layout "cpu_n16": the order of bytes that core/cpu_packed.hpp describes, written and read with scalar code.
#include "pack/cpu_n16.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "core/cpu_packed.hpp"
#include "core/status.hpp"

namespace spf::pack {
namespace {

bool accepts(const spf_quant_scheme& scheme, const char** why) { return cpu_packed_accepts(scheme, why); }

void describe_header(spf_packed_weight& header) {
  const CpuPacked p = cpu_packed_layout(header.scheme, header.n, header.k);
  Sections sections;
  sections.add(p.code_bytes);
  header.scales_offset = p.scale_bytes != 0 ? sections.add(p.scale_bytes) : 0;
  header.zeros_offset = p.zero_bytes != 0 ? sections.add(p.zero_bytes) : 0;
  header.g_idx_offset = p.gathered ? sections.add(p.gather_bytes) : 0;
  header.global_offset = p.has_global ? sections.add(sizeof(float)) : 0;
  header.padded_n = p.blocks_n * kCpuBlockN;
  header.padded_k = p.padded_k;
  header.bytes = sections.total();
}

// Raw code of a type as the stored unsigned integer, and back: two's complement becomes biased.
uint8_t sign_flip(spf_scalar_type t) { return t == SPF_S4 ? 8 : t == SPF_S8 ? 128 : 0; }

// Where a code lies in its block.
class CodePlace {
 public:
  CodePlace(const CpuPacked& p, uint8_t* block) : codes_(p.codes), block_(block) {}

  void set(int64_t position, int row, uint32_t code) const {
    const int64_t at = offset(position, row);
    switch (codes_) {
      case CpuCodes::kNibble:
        block_[at] = static_cast<uint8_t>(block_[at] | code << shift(position));
        break;
      case CpuCodes::kBF16:
      case CpuCodes::kF16: {
        const auto half = static_cast<uint16_t>(code);
        std::memcpy(block_ + at, &half, sizeof half);
        break;
      }
      case CpuCodes::kF32:
        std::memcpy(block_ + at, &code, sizeof code);
        break;
      default:
        block_[at] = static_cast<uint8_t>(code);
    }
  }

  uint32_t get(int64_t position, int row) const {
    const int64_t at = offset(position, row);
    switch (codes_) {
      case CpuCodes::kNibble:
        return static_cast<uint32_t>(block_[at] >> shift(position) & 15);
      case CpuCodes::kBF16:
      case CpuCodes::kF16: {
        uint16_t half;
        std::memcpy(&half, block_ + at, sizeof half);
        return half;
      }
      case CpuCodes::kF32: {
        uint32_t word;
        std::memcpy(&word, block_ + at, sizeof word);
        return word;
      }
      default:
        return block_[at];
    }
  }

 private:
  static int shift(int64_t position) { return 4 * (cpu_nibble(static_cast<int>(position % 8)) % 2); }

  // Byte offset of a code.
  int64_t offset(int64_t k, int row) const {
    switch (codes_) {
      case CpuCodes::kNibble:
        return (k / 8 * kCpuBlockN + row) * 4 + cpu_nibble(static_cast<int>(k % 8)) / 2;
      case CpuCodes::kByte:
        return (k / 4 * kCpuBlockN + row) * 4 + k % 4;
      case CpuCodes::kE4M3:
      case CpuCodes::kE5M2:
        return (k / 2 * kCpuBlockN + row) * 2 + k % 2;
      case CpuCodes::kBF16:
      case CpuCodes::kF16:
        return ((k / 2 * kCpuBlockN + row) * 2 + k % 2) * 2;
      default:
        return (k * kCpuBlockN + row) * 4;
    }
  }

  CpuCodes codes_;
  uint8_t* block_;
};

// The row of scales that serves each position. Regular weights only.
int64_t scale_row_at(const CpuPacked& p, int64_t position) { return position / (p.segments_per_scale * p.segment_k); }

// Fills the gather section: groups one after the other, each padded to the unit and cut into segments.
void write_gather(const formats::Decoder& weight, const CpuPacked& p, uint8_t* section) {
  auto* header = reinterpret_cast<CpuGatherHeader*>(section);
  auto* segment_start = reinterpret_cast<int32_t*>(header + 1);
  int32_t* segment_scale = segment_start + p.segments + 1;
  int32_t* column = segment_scale + p.segments;
  std::fill_n(column, p.padded_k, -1);
  std::vector<int32_t> order(static_cast<size_t>(p.k));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return weight.group(a) < weight.group(b); });
  int64_t position = 0, segments = 0;
  for (size_t i = 0; i < order.size();) {
    const int64_t group = weight.group(order[i]);
    const int64_t first = position;
    for (; i < order.size() && weight.group(order[i]) == group; ++i) column[position++] = order[i];
    position = (position + p.unit - 1) / p.unit * p.unit;
    for (int64_t start = first; start < position; start += p.segment_k) {
      segment_start[segments] = static_cast<int32_t>(start);
      segment_scale[segments++] = static_cast<int32_t>(group);
    }
  }
  std::fill(segment_start + segments, segment_start + p.segments + 1, static_cast<int32_t>(position));
  header->segments = static_cast<int32_t>(segments);
  header->positions = static_cast<int32_t>(position);
}

void store_scale(uint8_t* at, spf_scalar_type type, uint32_t raw) {
  if (type == SPF_F32) {
    std::memcpy(at, &raw, 4);
  } else {
    const auto half = static_cast<uint16_t>(raw);
    std::memcpy(at, &half, 2);
  }
}

float load_scale(const uint8_t* at, spf_scalar_type type) {
  uint32_t raw = 0;
  std::memcpy(&raw, at, type == SPF_F32 ? 4 : 2);
  return formats::scale_value(type, raw);
}

// Stores a scale or minimum; false if the type cannot hold it exactly.
bool write_scale(uint8_t* at, spf_scalar_type type, float value) {
  const uint32_t raw = formats::scale_code(type, value);
  store_scale(at, type, raw);
  const float back = formats::scale_value(type, raw);
  return back == value || (back != back && value != value);
}

spf_status pack_codes(const formats::Decoder& weight, const spf_packed_weight& header) {
  const CpuPacked p = cpu_packed_layout(header.scheme, header.n, header.k);
  auto* data = static_cast<uint8_t*>(header.data);
  if (p.has_global) {
    const float global = weight.global_scale();
    std::memcpy(data + header.global_offset, &global, sizeof global);
  }
  if (p.gathered) write_gather(weight, p, data + header.g_idx_offset);
  const CpuWeight view = cpu_packed_open(header);
  const uint8_t flip = sign_flip(header.scheme.weight);
  const size_t scale_size = p.scale_row_bytes / kCpuBlockN;
  std::vector<uint8_t> codes(weight.is_plain() ? 0 : static_cast<size_t>(p.k));
  std::vector<float> scales(static_cast<size_t>(weight.groups())), zeros(scales.size());
  bool exact = true;
  for (int64_t n = 0; n < p.n; ++n) {
    const int64_t block = n / kCpuBlockN;
    const int row = static_cast<int>(n % kCpuBlockN);
    const CodePlace place(p, data + static_cast<size_t>(block) * p.block_code_bytes);
    if (!weight.is_plain()) weight.codes_row(n, codes.data());
    for (int64_t at = 0; at < (p.gathered ? view.positions : p.k); ++at) {
      const int64_t k = p.gathered ? view.column[at] : at;
      if (k < 0) continue;
      place.set(at, row, weight.is_plain() ? weight.code(n, k) : codes[static_cast<size_t>(k)] ^ flip);
    }
    if (p.scale_rows == 0) continue;
    weight.scales_row(n, scales.data(), p.zeros == SPF_ZERO_NONE ? nullptr : zeros.data());
    for (int64_t g = 0; g < p.scale_rows; ++g) {
      const auto at = static_cast<size_t>((block * p.scale_rows + g) * kCpuBlockN + row);
      const auto i = static_cast<size_t>(g);
      exact &= write_scale(data + header.scales_offset + at * scale_size, p.scale_type, scales[i] * p.scale_factor);
      if (p.zeros == SPF_ZERO_INTEGER) {
        const auto zero = static_cast<int16_t>(zeros[i]);
        exact &= static_cast<float>(zero) == zeros[i];
        std::memcpy(data + header.zeros_offset + at * sizeof zero, &zero, sizeof zero);
      } else if (p.zeros == SPF_ZERO_MINIMUM) {
        exact &= write_scale(data + header.zeros_offset + at * scale_size, p.scale_type, zeros[i]);
      }
    }
  }
  if (!exact)
    return fail(SPF_UNSUPPORTED, "pack", "pack", "scales", "a scale or zero point outside the type that holds it",
                "values of the scheme's scale type");
  return SPF_OK;
}

spf_status unpack_values(const spf_packed_weight& header, float* out) {
  const CpuPacked p = cpu_packed_layout(header.scheme, header.n, header.k);
  const CpuWeight view = cpu_packed_open(header);
  auto* data = static_cast<uint8_t*>(header.data);
  const uint8_t flip = sign_flip(header.scheme.weight);
  const size_t scale_size = p.scale_row_bytes / kCpuBlockN;
  const bool plain = header.scheme.format == SPF_FORMAT_PLAIN;
  std::vector<int64_t> scale_row(static_cast<size_t>(view.positions));
  for (int64_t i = 0; i < view.segments; ++i) {
    const CpuSegment s = cpu_segment(view, i);
    for (int64_t at = s.start; at < s.start + s.length; ++at)
      scale_row[static_cast<size_t>(at)] = p.gathered ? s.scale_row : scale_row_at(p, at);
  }
  for (int64_t n = 0; n < p.n; ++n) {
    const int64_t block = n / kCpuBlockN;
    const int row = static_cast<int>(n % kCpuBlockN);
    const CodePlace place(p, data + static_cast<size_t>(block) * p.block_code_bytes);
    for (int64_t at = 0; at < (p.gathered ? view.positions : p.k); ++at) {
      const int64_t k = p.gathered ? view.column[at] : at;
      if (k < 0) continue;
      const uint32_t raw = place.get(at, row);
      float& value = out[n * p.k + k];
      if (plain) {
        value = static_cast<float>(decode(header.scheme.weight, raw));
        continue;
      }
      value = static_cast<float>(decode(header.scheme.weight, raw ^ flip));
      if (p.scale_rows != 0) {
        const auto i =
            static_cast<size_t>((block * p.scale_rows + scale_row[static_cast<size_t>(at)]) * kCpuBlockN + row);
        const float scale = load_scale(view.scales + i * scale_size, p.scale_type) / p.scale_factor;
        float zero = 0;
        if (p.zeros == SPF_ZERO_INTEGER) {
          int16_t z;
          std::memcpy(&z, view.zeros + i * sizeof z, sizeof z);
          zero = z;
        } else if (p.zeros == SPF_ZERO_MINIMUM) {
          zero = load_scale(view.zeros + i * scale_size, p.scale_type);
        }
        value = formats::dequantize(p.zeros, value, scale, zero);
      }
      if (p.has_global) value *= view.global_scale;
    }
  }
  return SPF_OK;
}

} // namespace

const LayoutRow kCpuN16Layout = {kCpuLayoutName,  kCpuLayoutVersion, accepts,
                                 describe_header, pack_codes,        unpack_values};

} // namespace spf::pack

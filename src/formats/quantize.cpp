#include "formats/quantize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "formats/fit.hpp"
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

constexpr size_t round_up(size_t bytes) { return (bytes + kViewAlign - 1) / kViewAlign * kViewAlign; }

size_t view_bytes(const ViewSpec& spec) {
  return round_up(static_cast<size_t>(spec.rows * spec.cols) * static_cast<size_t>(storage_bytes(spec.type)));
}

// Writes codes, scales and zeros of a weight whose memory is zeroed.
struct Writer {
  const Format& format;
  Extents extents;
  Grids grids;

  void put(const Grid& grid, const Place& at, uint32_t bits) const {
    grid.set(at.i, at.j, grid.get(at.i, at.j) | (bits << at.shift));
  }
  void code(int64_t n, int64_t k, uint64_t value) const {
    put(grids.codes, format.code_place(extents, n, k), static_cast<uint32_t>(value));
  }
  void scale(int64_t n, int64_t g, uint32_t raw) const { put(grids.scales, format.scale_place(extents, n, g), raw); }
  void zero(int64_t n, int64_t g, int zero_point) const {
    put(grids.zeros, format.zero_place(extents, n, g), static_cast<uint32_t>(zero_point - format.zero_offset));
  }
};

// One scale's share of W: rows [n0, n1), columns [k0, k1).
struct Cell {
  int64_t n0, n1, k0, k1;
};

template <class Body>
void for_cell(const Cell& cell, const float* w, int64_t k_count, Body&& body) {
  for (int64_t n = cell.n0; n < cell.n1; ++n)
    for (int64_t k = cell.k0; k < cell.k1; ++k) body(n, k, w[n * k_count + k]);
}

struct Range {
  float lo = 0, hi = 0; // of the values and 0
  float peak() const { return std::max(-lo, hi); }
};

Range range_of(const Cell& cell, const float* w, int64_t k_count) {
  Range r;
  for_cell(cell, w, k_count, [&](int64_t, int64_t, float x) {
    r.lo = std::min(r.lo, x);
    r.hi = std::max(r.hi, x);
  });
  return r;
}

// A scale in its own type, and the value it then has.
struct RoundedScale {
  uint32_t raw;
  float value;
  RoundedScale(spf_scalar_type type, float wanted)
      : raw(scale_code(type, std::min(wanted, static_cast<float>(scalar_info(type).max_value)))),
        value(scale_value(type, raw)) {}
};

void quantize_symmetric(const Cell& cell, int64_t g, const float* w, const Writer& out) {
  const spf_quant_scheme& s = out.extents.scheme;
  const float peak = range_of(cell, w, out.extents.k).peak();
  const RoundedScale scale(s.scale, peak / static_cast<float>(scalar_info(s.weight).max_value));
  for_cell(cell, w, out.extents.k, [&](int64_t n, int64_t k, float x) {
    const double ratio = scale.value == 0.0f ? 0.0 : static_cast<double>(x) / static_cast<double>(scale.value);
    out.code(n, k, encode(s.weight, ratio));
  });
  out.scale(cell.n0, g, scale.raw);
}

void quantize_asymmetric(const Cell& cell, int64_t g, const float* w, const Writer& out) {
  const spf_quant_scheme& s = out.extents.scheme;
  const int top = static_cast<int>(scalar_info(s.weight).max_value), offset = out.format.zero_offset;
  const Range r = range_of(cell, w, out.extents.k);
  RoundedScale scale(s.scale, (r.hi - r.lo) / static_cast<float>(top));
  const int zero = std::max(nearest_code(-r.lo, scale.value, 0, top), offset);
  // A zero point of 0 that a format cannot store costs the top code; stretch the scale instead of clipping.
  if (zero < top && r.hi > scale.value * (static_cast<float>(top - zero) + 0.5f))
    scale = RoundedScale(s.scale, r.hi / static_cast<float>(top - zero));
  for_cell(cell, w, out.extents.k, [&](int64_t n, int64_t k, float x) {
    out.code(n, k, static_cast<uint64_t>(nearest_code(x, scale.value, -zero, top - zero) + zero));
  });
  out.scale(cell.n0, g, scale.raw);
  out.zero(cell.n0, g, zero);
}

void quantize_nvfp4(const Cell& cell, int64_t g, const float* w, const Writer& out, float multiplier) {
  uint8_t codes[16], scale;
  const int count = static_cast<int>(cell.k1 - cell.k0);
  nvfp4_block(w + cell.n0 * out.extents.k + cell.k0, count, multiplier, codes, &scale);
  for (int i = 0; i < count; ++i) out.code(cell.n0, cell.k0 + i, codes[i]);
  out.scale(cell.n0, g, scale);
}

void quantize_mx(const Cell& cell, int64_t g, const float* w, const Writer& out) {
  const spf_scalar_type type = out.extents.scheme.weight;
  const float peak = range_of(cell, w, out.extents.k).peak();
  if (peak == 0.0f) return;
  int peak_exponent, max_exponent;
  std::frexp(peak, &peak_exponent);
  std::frexp(scalar_info(type).max_value, &max_exponent);
  int best = 0;
  double best_error = -1;
  for (int exponent : {peak_exponent - max_exponent, peak_exponent - max_exponent + 1}) {
    exponent = std::clamp(exponent, -127, 127);
    double error = 0;
    for_cell(cell, w, out.extents.k, [&](int64_t, int64_t, float x) {
      const double scaled = std::ldexp(static_cast<double>(x), -exponent);
      const double limit = scalar_info(type).max_value;
      const double miss = scaled - decode(type, encode(type, std::clamp(scaled, -limit, limit)));
      error += std::ldexp(miss * miss, 2 * exponent);
    });
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best = exponent;
    }
  }
  const double limit = scalar_info(type).max_value;
  for_cell(cell, w, out.extents.k, [&](int64_t n, int64_t k, float x) {
    out.code(n, k, encode(type, std::clamp(std::ldexp(static_cast<double>(x), -best), -limit, limit)));
  });
  out.scale(cell.n0, g, static_cast<uint32_t>(best + 127));
}

void quantize_plain(const float* w, const Writer& out) {
  for (int64_t n = 0; n < out.extents.n; ++n)
    for (int64_t k = 0; k < out.extents.k; ++k)
      out.grids.codes.set(n, k, scale_code(out.extents.scheme.weight, w[n * out.extents.k + k]));
}

void quantize_blocks(const float* w, const Writer& out) {
  const BlockFormat& block = *out.format.block;
  float values[kMaxBlockValues];
  for (int64_t n = 0; n < out.extents.n; ++n)
    for (int64_t k = 0; k < out.extents.k; k += block.values) {
      const int64_t count = std::min<int64_t>(block.values, out.extents.k - k);
      std::copy_n(w + n * out.extents.k + k, count, values);
      std::fill(values + count, values + block.values, 0.0f);
      block.encode(values, reinterpret_cast<uint8_t*>(out.grids.codes.data + n * out.grids.codes.row_stride) +
                               k / block.values * block.bytes);
    }
}

// 448 * 6 / absmax: the largest block scale then just fits e4m3.
float nvfp4_multiplier(const float* w, int64_t count) {
  float peak = 0;
  for (int64_t i = 0; i < count; ++i) peak = std::max(peak, std::fabs(w[i]));
  return peak == 0.0f ? 1.0f : std::min(2688.0f / peak, 0x1p100f);
}

} // namespace

size_t quantized_bytes(const spf_quant_scheme& scheme, int64_t n, int64_t k) {
  const ViewSpecs v = find_format(scheme.format)->views(extents_of(scheme, n, k));
  size_t bytes = 0;
  for (const ViewSpec* spec : {&v.codes, &v.scales, &v.zeros, &v.g_idx, &v.global_scale}) bytes += view_bytes(*spec);
  return bytes;
}

spf_quantized_weight place_views(const spf_quant_scheme& scheme, int64_t n, int64_t k, void* memory) {
  const ViewSpecs v = find_format(scheme.format)->views(extents_of(scheme, n, k));
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = scheme;
  w.scheme.struct_size = sizeof(spf_quant_scheme);
  w.n = n;
  w.k = k;
  char* at = static_cast<char*>(memory);
  const std::pair<spf_tensor*, const ViewSpec*> views[] = {{&w.codes, &v.codes},
                                                           {&w.scales, &v.scales},
                                                           {&w.zeros, &v.zeros},
                                                           {&w.g_idx, &v.g_idx},
                                                           {&w.global_scale, &v.global_scale}};
  for (const auto& [tensor, spec] : views) {
    tensor->struct_size = sizeof(spf_tensor);
    if (spec->type == SPF_TYPE_NONE) continue;
    tensor->type = spec->type;
    tensor->device = {SPF_CPU, 0};
    tensor->rank = 2;
    tensor->shape[0] = spec->rows;
    tensor->shape[1] = spec->cols;
    tensor->stride[0] = spec->cols;
    tensor->stride[1] = 1;
    if (spec->rows > 0 && spec->cols > 0) tensor->data = at;
    at += view_bytes(*spec);
  }
  return w;
}

void nvfp4_block(const float* x, int count, float multiplier, uint8_t* codes, uint8_t* scale) {
  float peak = 0;
  for (int i = 0; i < count; ++i) peak = std::max(peak, std::fabs(x[i]));
  *scale = f32_to_e4m3(multiplier * (peak * (1.0f / 6.0f)));
  const float value = e4m3_to_f32(*scale);
  const float factor = value == 0.0f ? 0.0f : 1.0f / (value * (1.0f / multiplier));
  for (int i = 0; i < count; ++i) codes[i] = f32_to_e2m1(x[i] * factor);
}

namespace {

// A writer over zeroed memory.
Writer blank(const spf_quantized_weight& weight, void* memory) {
  const size_t bytes = quantized_bytes(weight.scheme, weight.n, weight.k);
  if (bytes > 0) std::memset(memory, 0, bytes);
  Writer out{*find_format(weight.scheme.format), extents_of(weight.scheme, weight.n, weight.k), {}};
  bind(weight, "quantize", &out.grids);
  return out;
}

// body(cell, row of scales, group) for every scale, then the trivial g_idx.
template <class Body>
void for_each_cell(const Writer& out, Body&& body) {
  const Extents& e = out.extents;
  const int64_t rows = e.scheme.group_n < 0 ? std::max<int64_t>(e.n, 1) : e.scheme.group_n;
  const int64_t cols = e.scheme.group_k < 0 ? std::max<int64_t>(e.k, 1) : e.scheme.group_k;
  for (int64_t n = 0; n < e.n; n += rows)
    for (int64_t g = 0; g < e.groups; ++g)
      body(Cell{n, std::min(e.n, n + rows), g * cols, std::min(e.k, (g + 1) * cols)}, n / rows, g);
  if (e.scheme.has_g_idx)
    for (int64_t k = 0; k < e.k; ++k)
      out.grids.g_idx.set(k, 0, static_cast<uint32_t>(e.scheme.group_k < 0 ? 0 : k / e.scheme.group_k));
}

// The two values of largest magnitude of every four columns, of equals the first, and zeros.
std::vector<float> two_of_four(const float* w, int64_t n_count, int64_t k_count) {
  std::vector<float> kept(static_cast<size_t>(n_count * k_count));
  const auto magnitude = [](float x) { return std::isnan(x) ? HUGE_VALF : std::fabs(x); };
  for (int64_t n = 0; n < n_count; ++n)
    for (int64_t k = 0; k < k_count; k += 4) {
      const float* four = w + n * k_count + k;
      const auto count = std::min<int64_t>(4, k_count - k);
      for (int64_t i = 0; i < count; ++i) {
        int before = 0; // values that have a place before this one
        for (int64_t j = 0; j < count; ++j) {
          const float a = magnitude(four[j]), b = magnitude(four[i]);
          before += a > b || (a == b && j < i) ? 1 : 0;
        }
        if (before < 2) kept[static_cast<size_t>(n * k_count + k + i)] = four[i];
      }
    }
  return kept;
}

} // namespace

void quantize(const float* w, const spf_quantized_weight& weight, void* memory) {
  const Writer out = blank(weight, memory);
  const spf_quant_scheme& s = weight.scheme;
  std::vector<float> kept;
  if (s.sparsity == SPF_SPARSITY_2_OF_4) {
    kept = two_of_four(w, weight.n, weight.k);
    w = kept.data();
  }
  if (s.format == SPF_FORMAT_PLAIN) return quantize_plain(w, out);
  if (out.format.block != nullptr) return quantize_blocks(w, out);

  float multiplier = 1.0f;
  if (s.has_global_scale) {
    multiplier = nvfp4_multiplier(w, weight.n * weight.k);
    out.grids.global_scale.set(0, 0, std::bit_cast<uint32_t>(1.0f / multiplier));
  }
  for_each_cell(out, [&](const Cell& cell, int64_t, int64_t g) {
    if (s.zero == SPF_ZERO_INTEGER)
      quantize_asymmetric(cell, g, w, out);
    else if (s.scale == SPF_E8M0)
      quantize_mx(cell, g, w, out);
    else if (s.format == SPF_FORMAT_NVFP4)
      quantize_nvfp4(cell, g, w, out, multiplier);
    else
      quantize_symmetric(cell, g, w, out);
  });
}

void quantize_with_scales(const float* w, const GivenScales& given, const spf_quantized_weight& weight, void* memory) {
  const Writer out = blank(weight, memory);
  const spf_quant_scheme& s = weight.scheme;
  std::vector<float> kept;
  if (s.sparsity == SPF_SPARSITY_2_OF_4) {
    kept = two_of_four(w, weight.n, weight.k);
    w = kept.data();
  }
  const float global = s.has_global_scale ? given.global_scale : 1.0f;
  if (s.has_global_scale) out.grids.global_scale.set(0, 0, std::bit_cast<uint32_t>(global));
  for_each_cell(out, [&](const Cell& cell, int64_t row, int64_t g) {
    const int64_t at = row * out.extents.groups + g;
    const RoundedScale scale(s.scale, given.scales[at]);
    const int32_t zero = s.zero == SPF_ZERO_INTEGER ? given.zeros[at] : 0;
    const double step = static_cast<double>(scale.value) * static_cast<double>(global);
    for_cell(cell, w, out.extents.k, [&](int64_t n, int64_t k, float x) {
      const double ratio = step == 0 ? 0 : static_cast<double>(x) / step;
      out.code(n, k, encode(s.weight, ratio + zero));
    });
    out.scale(cell.n0, g, scale.raw);
    if (s.zero == SPF_ZERO_INTEGER) out.zero(cell.n0, g, zero);
  });
}

} // namespace spf::formats

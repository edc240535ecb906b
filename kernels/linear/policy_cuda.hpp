// Which CUDA linear kernel runs. Costs are microseconds on an otherwise idle device.
#pragma once

#include <algorithm>

#include "core/marlin_formats.hpp"
#include "core/scalar.hpp"
#include "kernels/common/policy.hpp"
#include "kernels/linear/blocks.hpp"
#include "kernels/linear/mma_tile.hpp"
#include "kernels/linear/sm90_column.hpp"
#include "kernels/linear/sm90_stream.hpp"
#include "kernels/linear/sm90_wgmma.hpp"

namespace spf::linear {

inline StreamShape stream_shape(const Problem& p) {
  const int64_t k = p.extent("K");
  const bool column = p.scheme.group_k <= 0 || p.scheme.group_k >= k;
  const spf_scalar_type weight = p.scheme.weight == SPF_S8 ? SPF_U8B128 : p.scheme.weight;
  return {p.extent("*"), p.extent("N"), k, column ? 0 : p.scheme.group_k, weight};
}

// Which decoder reads a scheme with scales every `group` values of K (0: one a column): the kernel's axes `weight` and
// `fold`, or why none does.
struct WgmmaFormat {
  spf_scalar_type weight = SPF_TYPE_NONE;
  int64_t fold = 0;
  const char* why = nullptr;
};

inline WgmmaFormat wgmma_format(const spf_quant_scheme& s, int64_t group, spf_scalar_type type) {
  const auto no = [](const char* why) { return WgmmaFormat{SPF_TYPE_NONE, 0, why}; };
  const bool zeros = s.zero == SPF_ZERO_INTEGER;
  if (!has_marlin_form(s.format))
    return no("takes integers, fp8, NVFP4, MXFP4, and GGUF formats with one f16 scale a block");
  if (s.zero == SPF_ZERO_MINIMUM) return no("takes no minima");
  if (s.weight == SPF_E2M1) {
    if (s.format == SPF_FORMAT_NVFP4 && group == 16) return {SPF_E2M1, 1, nullptr};
    if (s.format == SPF_FORMAT_MXFP4 && group == 32 && type == SPF_BF16) return {SPF_E2M1, 2, nullptr};
    return no("takes e2m1 as NVFP4, or as MXFP4 with bf16 activations, and K beyond one group");
  }
  if (s.weight == SPF_E4M3) {
    if (group == 0) return {SPF_E4M3, 0, nullptr};
    if (group % 128 == 0 && s.scale == SPF_F32) return {SPF_E4M3, 8, nullptr};
    return no("takes e4m3 with one scale a column, or f32 scales of 128 values and multiples");
  }
  const bool eight = s.weight == SPF_U8B128 || s.weight == SPF_S8;
  const bool known = zeros ? s.weight == SPF_U4 : s.weight == SPF_U4B8 || eight;
  if (!known) return no("takes u4b8, u8b128 and s8, u4 with zero points, e4m3 and e2m1 weights");
  if (s.scale != SPF_F16 && s.scale != SPF_BF16) return no("takes f16 or bf16 scales");
  if (zeros && group == 0) return no("takes zero points of groups only");
  if (s.group_n > 1) return no("takes scales of single columns");
  // A bf16 scale may be out of the range of f16.
  if (group != 0 && type == SPF_F16 && s.scale != SPF_F16) return no("takes f16 group scales with f16 activations");
  // A new scale every 64 values of K or every whole number of stages: groups of 192 would be taken for groups of 64.
  if (group != 0 && group != 32 && group != 64 && group % 128 != 0)
    return no("takes groups of 32, 64, multiples of 128, or one scale a column");
  return {eight ? SPF_U8B128 : s.weight, group >= 128 ? 8 : group / 16, nullptr};
}

// What scales of columns have to be multiplied by: the Marlin order holds 16-bit ones of fp8 weights with a factor.
constexpr float marlin_column_factor(const spf_quant_scheme& s) {
  if (s.weight != SPF_E4M3 || s.scale == SPF_F32) return 1.0f;
  return s.scale == SPF_F16 ? 0x1p-8f : 0x1p-120f;
}

// What sm90_stream reads: what sm90_wgmma does, and 4-bit integers with scales of any 16-bit type.
inline WgmmaFormat stream_format(const spf_quant_scheme& s, int64_t group, spf_scalar_type type) {
  const auto no = [](const char* why) { return WgmmaFormat{SPF_TYPE_NONE, 0, why}; };
  const bool biased = s.weight == SPF_U4B8 && s.zero == SPF_ZERO_NONE;
  const bool zeros = s.weight == SPF_U4 && s.zero == SPF_ZERO_INTEGER;
  if (!biased && !zeros) return wgmma_format(s, group, type);
  if ((s.scale != SPF_F16 && s.scale != SPF_BF16) || s.has_global_scale) return no("takes f16 or bf16 scales alone");
  if (s.group_n > 1) return no("takes scales of single columns");
  if (group != 0 && group != 32 && group != 64 && group % 128 != 0)
    return no("takes groups of 32, 64, multiples of 128, or one scale a column");
  return {s.weight, group == 0 ? 0 : group >= 128 ? 8 : group / 16, nullptr};
}

// What sm90_stream and sm90_column both ask of a problem of up to `tokens` tokens. False and *result, or true and the
// format's place among the instances.
inline bool stream_takes(const Problem& p, int64_t tokens, WgmmaFormat* format, PolicyResult* result) {
  const StreamShape shape = stream_shape(p);
  const spf_scalar_type type = p.type("T");
  *result = policy::accept(0, 0.0);
  if ((type != SPF_F16 && type != SPF_BF16) || p.type("O") != type)
    *result = policy::refuse("type", "takes f16 or bf16, the same in and out");
  else if (p.scheme.has_g_idx)
    *result = policy::refuse("type", "takes no act order");
  else if (*format = stream_format(p.scheme, shape.group, type); format->why != nullptr)
    *result = policy::refuse("type", format->why);
  else if (shape.m > tokens)
    *result = policy::refuse("shape", tokens == 8 ? "takes up to 8 tokens" : "takes up to 16 tokens");
  else if (shape.m == 0 || shape.n == 0)
    return false;
  else if (shape.k == 0)
    *result = policy::refuse("shape", "takes K of 1 or more");
  else if (shape.n > (int64_t{1} << 30) || shape.k > (int64_t{1} << 20))
    *result = policy::refuse("shape", "takes N up to 2^30 and K up to 2^20");
  return result->accepted;
}

// Up to 8 tokens. Measured on H200 (README.md): the weight at 4.2 TB/s after 2.8 us of start and end, and x.
inline PolicyResult sm90_stream_policy(const Problem& p, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  WgmmaFormat format;
  PolicyResult result;
  if (!stream_takes(p, 8, &format, &result)) return result;
  const StreamShape shape = stream_shape(p);
  const StreamGeometry g = stream_geometry(shape, facts);
  if (!g.fits()) return policy::refuse("shape", "needs more shared memory than a block of this device has");
  for (size_t i = 0; i < instances.size(); ++i) {
    const InstanceRow& row = instances[i];
    if (policy::axis(row, "T") != p.type("T") || policy::axis(row, "weight") != format.weight ||
        policy::axis(row, "fold") != format.fold)
      continue;
    const double k = static_cast<double>(shape.k), codes = static_cast<double>(shape.n) * k;
    const double x_us = static_cast<double>(shape.m - 1) * (0.1 + 1.5e-5 * k + 6e-6 * static_cast<double>(shape.n));
    return policy::accept(static_cast<int>(i), 2.8 + x_us + codes * wgmma_bits(format.weight) / 8 / 4.2e6);
  }
  return policy::refuse("shape", "has no instance for this group size and type");
}

// Bytes for a copy of x where the copy engine cannot read it as it lies. Sums of clusters lie behind it.
inline int64_t wgmma_room(const Problem& p) {
  const int64_t k = p.extent("K");
  if (p.is_aligned16("x") && p.is_contiguous("x") && k % 8 == 0) return 0;
  return stream_ceil(p.extent("*") * stream_ceil(k, 8) * 16, 256) * 256;
}

// Up to 16 tokens. Measured on H200 (README.md): cycles of a scheduler for a unit of 64 columns x 128 k.
inline PolicyResult sm90_column_policy(const Problem& p, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  WgmmaFormat format;
  PolicyResult result;
  if (!stream_takes(p, 16, &format, &result)) return result;
  if (wgmma_room(p) != 0)
    return policy::refuse("shape", "takes contiguous x on 16 bytes and K that is a multiple of 8");
  const StreamShape shape = stream_shape(p);
  const ColumnGeometry g = column_geometry(shape, facts);
  if (!g.fits()) {
    const bool many = stream_ceil(shape.n, 64) > ColumnGeometry::kWarps * int64_t{facts.sm_count};
    return policy::refuse("shape", many ? "takes up to 1024 output features a multiprocessor"
                                        : "needs more shared memory than a block of this device has");
  }
  const int64_t tiles = shape.m > 8 ? 2 : 1;
  for (size_t i = 0; i < instances.size(); ++i) {
    const InstanceRow& row = instances[i];
    if (policy::axis(row, "T") != p.type("T") || policy::axis(row, "weight") != format.weight ||
        policy::axis(row, "fold") != format.fold || policy::axis(row, "tiles") != tiles)
      continue;
    const double decode = format.weight == SPF_E2M1 ? 350.0 : wgmma_bits(format.weight) == 8 ? -200.0 : 0.0;
    const double issue_us = g.busiest * ((tiles == 2 ? 1000.0 : 700.0) + decode) / 1750;
    const double codes = static_cast<double>(shape.n) * static_cast<double>(shape.k);
    const double stream_us = codes * wgmma_bits(format.weight) / 8 / 4.2e6;
    return policy::accept(static_cast<int>(i), 3.7 + 0.1 * g.columns + std::max(stream_us, issue_us));
  }
  return policy::refuse("shape", "has no instance for this group size and type");
}

// The type of the rows that the dense kernels multiply a weight as: its own if it is plain, bf16 for MXFP8, whose
// numbers bf16 holds (the layout bf16_rows); NONE: as no rows.
constexpr spf_scalar_type row_type(const spf_quant_scheme& s) {
  return s.format == SPF_FORMAT_PLAIN ? s.weight : s.format == SPF_FORMAT_MXFP8 ? SPF_BF16 : SPF_TYPE_NONE;
}
// Why they do not multiply a weight under activations of `type`; nullptr if they do. *layout: of the rows.
inline const char* dense_refusal(const Problem& p, spf_scalar_type type, const char** layout) {
  if ((type != SPF_F16 && type != SPF_BF16) || row_type(p.scheme) != type)
    return "takes f16 or bf16 weights under activations of the same type, and MXFP8 ones under bf16";
  *layout = p.scheme.format == SPF_FORMAT_PLAIN ? "reference" : "bf16_rows";
  return *p.layout != '\0' && std::string_view(*layout) != p.layout ? "reads plain rows, MXFP8 from bf16_rows"
                                                                    : nullptr;
}

inline WgmmaShape wgmma_shape(const Problem& p) {
  if (row_type(p.scheme) != SPF_TYPE_NONE)
    return {p.extent("*"), p.extent("N"), p.extent("K"), wgmma_bits(SPF_BF16), wgmma_decode(SPF_BF16, false)};
  const double decode = wgmma_decode(p.scheme.weight, p.scheme.format == SPF_FORMAT_NVFP4);
  return {p.extent("*"), p.extent("N"), p.extent("K"), wgmma_bits(p.scheme.weight), decode};
}

// What sm90_wgmma and sm90_dense ask of every problem but its format. False and *refusal, or true;
// *trivial: there is nothing to compute.
inline bool wgmma_takes(const Problem& p, PolicyResult* refusal, bool* trivial) {
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K");
  const spf_scalar_type type = p.type("T");
  *trivial = m == 0 || n == 0;
  const bool wide = p.scheme.format == SPF_FORMAT_PLAIN && p.type("O") == SPF_F32;
  if ((type != SPF_F16 && type != SPF_BF16) || (p.type("O") != type && !wide))
    *refusal = policy::refuse("type", "takes f16 or bf16, the same in and out, or f32 out of 16-bit weights");
  else if (p.scheme.has_g_idx)
    *refusal = policy::refuse("type", "takes no act order");
  else if (k == 0 && !*trivial)
    *refusal = policy::refuse("shape", "takes K of 1 or more");
  else if (m > kMost || n > kMost || k > kMost)
    *refusal = policy::refuse("shape", "takes M, N and K up to 2^30");
  else
    return true;
  return false;
}

// The cheapest of the instances that `fits` and whose tile a plan divides the problem into.
template <class Fits>
PolicyResult wgmma_best(const Problem& p, const spf_device_facts& facts, std::span<const InstanceRow> instances,
                        const Fits& fits) {
  const PolicyResult none = policy::refuse("shape", "has no instance for this group size and type");
  return policy::cheapest(instances, none, [&](const InstanceRow& row) {
    if (!fits(row)) return PolicyResult{};
    const WgmmaChoice choice = {
        static_cast<int>(policy::axis(row, "tokens")), static_cast<int>(policy::axis(row, "tiles")),
        static_cast<int>(policy::axis(row, "groups")), static_cast<int>(policy::axis(row, "share")),
        static_cast<int>(std::max<int64_t>(policy::axis(row, "parts"), 1))};
    return policy::offer(wgmma_plan(wgmma_shape(p), facts, choice).microseconds, wgmma_room(p));
  });
}

// Quantized weights, any number of tokens, on Hopper's warpgroup tensor cores.
inline PolicyResult sm90_wgmma_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  PolicyResult refusal;
  bool trivial = false;
  const spf_scalar_type type = p.type("T");
  if (!wgmma_takes(p, &refusal, &trivial)) return refusal;
  const WgmmaFormat format = wgmma_format(p.scheme, stream_shape(p).group, type);
  if (format.why != nullptr) return policy::refuse("type", format.why);
  if (trivial) return policy::accept(0, 0.0);
  return wgmma_best(p, facts, instances, [&](const InstanceRow& row) {
    return policy::axis(row, "T") == type && policy::axis(row, "weight") == format.weight &&
           policy::axis(row, "fold") == format.fold;
  });
}

// Weights as rows of the activations' type, any number of tokens.
inline PolicyResult sm90_dense_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  PolicyResult refusal;
  bool trivial = false;
  const spf_scalar_type type = p.type("T");
  if (!wgmma_takes(p, &refusal, &trivial)) return refusal;
  const char* layout = "";
  if (const char* why = dense_refusal(p, type, &layout)) return policy::refuse("type", why);
  if (p.extent("K") % 8 != 0) return policy::refuse("shape", "takes K that is a multiple of 8");
  PolicyResult result = policy::accept(0, 0.0);
  if (!trivial)
    result = wgmma_best(p, facts, instances, [&](const InstanceRow& row) {
      return policy::axis(row, "T") == type && (policy::axis(row, "wide") != 0) == (p.type("O") != type);
    });
  result.layout = layout;
  return result;
}

// --- mma.sync -------------------------------------------------------------------------------------------------------

// K in elements of x, of which block-scaled ones may be two values.
inline MmaShape mma_shape(const Problem& p) {
  BlockLinear op = {};
  const int64_t each = is_block_linear(*p.op, &op) ? values_a_byte(op) : 1;
  return {p.extent("*"), p.extent("N"), stream_ceil(p.extent("K"), each)};
}

// Values of K that share a scale; 0: all of them.
inline int64_t group_size(const Problem& p) {
  return p.scheme.group_k <= 0 || p.scheme.group_k >= p.extent("K") ? 0 : p.scheme.group_k;
}

// What the workspace holds: x where it cannot be read as it lies, then partial sums.
struct MmaWorkspace {
  int64_t x_pitch = 0; // elements
  size_t x_bytes = 0, partial_bytes = 0;
};
inline MmaWorkspace mma_workspace(const Problem& p, const MmaPlan& plan, const MmaTile& tile) {
  MmaWorkspace w;
  const MmaShape s = mma_shape(p);
  const int64_t each = tile.format.x_bytes(), piece = 16 / each;
  w.x_pitch = stream_ceil(s.k, piece) * piece;
  if (p.scheme.has_g_idx || s.k % piece != 0 || !p.is_aligned16("x") || !p.is_contiguous("x"))
    w.x_bytes = static_cast<size_t>(stream_ceil(s.m * w.x_pitch * each, 256) * 256);
  w.partial_bytes = mma_partial_bytes(plan, tile);
  return w;
}

// The cheapest instance among those that `fits` takes; tile(row): the tile of an instance.
template <class Fits, class TileOf>
PolicyResult mma_choice(const Problem& p, const spf_device_facts& facts, std::span<const InstanceRow> instances,
                        const Fits& fits, const TileOf& tile_of) {
  using policy::refuse;
  const MmaShape shape = mma_shape(p);
  if (shape.m == 0 || shape.n == 0) return policy::accept(0, 0.0);
  if (shape.k == 0) return refuse("shape", "takes K of 1 or more");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (shape.m > kMost || shape.n > kMost || shape.k > kMost) return refuse("shape", "takes M, N and K up to 2^30");
  const PolicyResult none = refuse("shape", "has no instance for this group size and type");
  return policy::cheapest(instances, none, [&](const InstanceRow& row) {
    if (!fits(row)) return PolicyResult{};
    const MmaTile tile = tile_of(row);
    if (tile.shared_bytes() > facts.shared_memory_per_block ||
        stream_ceil(shape.n, tile.channels) * stream_ceil(shape.m, tile.tokens) > kMost)
      return PolicyResult{};
    const MmaPlan plan = mma_plan(shape, facts, tile);
    // Estimates are good to 10 % on 9.0: a kernel of that target that is about as fast stays ahead.
    const double cost = plan.microseconds * (facts.compute_capability == 90 ? 1.25 : 1.0);
    const MmaWorkspace room = mma_workspace(p, plan, tile);
    return policy::offer(cost, static_cast<int64_t>(room.x_bytes + room.partial_bytes));
  });
}

inline MmaTile mma_tile_of(const InstanceRow& row, const MmaFormat& format) {
  return {static_cast<int>(policy::axis(row, "tokens")), static_cast<int>(policy::axis(row, "channels")),
          static_cast<int>(policy::axis(row, "parts")), format, static_cast<int>(policy::axis(row, "memory"))};
}

// Which instance axes read a scheme, or why none does. `groups` as in MarlinWeights.
struct MarlinForm {
  spf_scalar_type weight = SPF_TYPE_NONE;
  int64_t groups = 0;
  const char* why = nullptr;
};
inline MarlinForm marlin_form(const spf_quant_scheme& s, int64_t group, spf_scalar_type type) {
  const auto no = [](const char* why) { return MarlinForm{SPF_TYPE_NONE, 0, why}; };
  if (!has_marlin_form(s.format))
    return no("takes integers, fp8, NVFP4, MXFP4, and GGUF formats with one f16 scale a block");
  if (s.weight == SPF_E2M1 || s.weight == SPF_E4M3) {
    const WgmmaFormat f = wgmma_format(s, group, type);
    if (f.why != nullptr) return no(f.why);
    return {s.weight, s.weight == SPF_E4M3 ? (group == 0 ? 0 : 1) : group, nullptr};
  }
  const bool zeros = s.zero == SPF_ZERO_INTEGER, eight = s.weight == SPF_U8B128 || s.weight == SPF_S8;
  if (s.zero == SPF_ZERO_MINIMUM) return no("takes no minima");
  const bool known = zeros ? s.weight == SPF_U4 || s.weight == SPF_U8 : s.weight == SPF_U4B8 || eight;
  if (!known) return no("takes u4b8, u8b128 and s8, u4 and u8 with zero points, e4m3 and e2m1 weights");
  if (s.scale != SPF_F16 && s.scale != SPF_BF16) return no("takes f16 or bf16 scales");
  if (s.group_n > 1) return no("takes scales of single columns");
  const bool scaled = group != 0 || zeros; // as weights are decoded, not in the end
  // A bf16 scale may be out of the range of f16.
  if (scaled && type == SPF_F16 && s.scale != SPF_F16) return no("takes f16 group scales with f16 activations");
  if (group != 0 && group != 16 && group != 32 && group != 64 && group % 128 != 0)
    return no("takes groups of 16, 32, 64, multiples of 128, or one scale a column");
  return {eight ? SPF_U8B128 : s.weight,
          !scaled       ? kOneGroup
          : group == 0  ? kGroups
          : s.has_g_idx ? kActOrder
          : group < 64  ? kFineGroups
                        : kGroups,
          nullptr};
}

// Weights in the Marlin order, 16-bit activations.
inline PolicyResult sm80_mma_policy(const Problem& p, const spf_device_facts& facts,
                                    std::span<const InstanceRow> instances) {
  using policy::refuse;
  const spf_scalar_type type = p.type("T");
  if (type != SPF_F16 && type != SPF_BF16) return refuse("type", "takes f16 or bf16 activations");
  const MarlinForm form = marlin_form(p.scheme, group_size(p), type);
  if (form.why != nullptr) return refuse("type", form.why);
  const MmaFormat format = marlin_format(form.weight, form.groups);
  return mma_choice(
      p, facts, instances,
      [&](const InstanceRow& row) {
        return policy::axis(row, "T") == type && policy::axis(row, "weight") == form.weight &&
               policy::axis(row, "groups") == form.groups;
      },
      [&](const InstanceRow& row) { return mma_tile_of(row, format); });
}
inline PolicyResult sm75_mma_policy(const Problem& p, const spf_device_facts& facts,
                                    std::span<const InstanceRow> instances) {
  return sm80_mma_policy(p, facts, instances);
}

// Weights as rows of the activations' type.
inline PolicyResult sm80_dense_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  using policy::refuse;
  const spf_scalar_type type = p.type("T");
  const char* layout = "";
  if (const char* why = dense_refusal(p, type, &layout)) return refuse("type", why);
  if (p.extent("K") % 8 != 0) return refuse("shape", "takes K that are multiples of 8");
  PolicyResult result = mma_choice(
      p, facts, instances, [&](const InstanceRow& row) { return policy::axis(row, "T") == type; },
      [&](const InstanceRow& row) { return mma_tile_of(row, kDenseFormat); });
  result.layout = layout;
  return result;
}

// --- any format, any GPU --------------------------------------------------------------------------------------------

// f32 arithmetic on decoded weights. Measured on H200 (README.md): the memory's speed for 16 bits and one token, 11
// values decoded and 30 multiplied a cycle and multiprocessor.
inline PolicyResult sm75_plain_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  const int64_t m = p.extent("*"), tokens = m > 1 ? 8 : 1, bits = scalar_info(p.scheme.weight).bits;
  const double weights = static_cast<double>(p.extent("N")) * static_cast<double>(p.extent("K"));
  const double facts_bytes = p.scheme.zero == SPF_ZERO_NONE ? 4.0 : 8.0;
  const double stored = static_cast<double>(bits) / 8 +
                        (p.scheme.group_k > 0 ? facts_bytes / static_cast<double>(p.scheme.group_k) : 0.0);
  const double multiprocessors = facts.sm_count > 0 ? facts.sm_count : 1;
  const CudaRates rates = cuda_rates(facts.compute_capability);
  const double stream = weights * stored / (0.9 * rates.bytes * multiprocessors);
  const double each = weights / (rates.cycles * multiprocessors);
  const double decode = bits <= 8 ? each / 11 : 0.0;
  const double multiply = m > 1 ? each * static_cast<double>(stream_ceil(m, 8) * 8) / 30 : 0.0;
  // A weight that is packed for one token stays so for many, where this kernel is the slowest: it has to be worth that.
  const double cost = 2 * (3.0 + std::max(stream, std::max(decode, multiply)));
  for (size_t i = 0; i < instances.size(); ++i) {
    const InstanceRow& row = instances[i];
    if (policy::axis(row, "T") == p.type("T") && policy::axis(row, "bits") == bits &&
        policy::axis(row, "tokens") == tokens)
      return policy::accept(static_cast<int>(i), cost);
  }
  return policy::refuse("type", "has no instance for these types");
}

} // namespace spf::linear

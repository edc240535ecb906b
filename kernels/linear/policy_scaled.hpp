// What scaled_linear takes, and which of its kernels runs. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "core/marlin_formats.hpp"
#include "kernels/common/policy.hpp"
#include "kernels/linear/sm90_wgmma8.hpp"

namespace spf::linear {

// Columns of x that share a scale where a token has more than one.
constexpr int64_t kScaleColumns = 128;

inline bool is_integer_weight(spf_scalar_type t) {
  return t == SPF_S8 || t == SPF_U8B128 || t == SPF_U4B8 || t == SPF_S4;
}

// Scales of x fit K; zero points meet exact integer sums; 8-bit results have a factor.
inline Violation scaled_linear_constraint(const Problem& p) {
  const int64_t k = p.extent("K"), groups = (k + kScaleColumns - 1) / kScaleColumns;
  if (p.extent("G") != 1 && p.extent("G") != groups)
    return {"x_scale.shape[-1]", std::to_string(p.extent("G")), "1, or ceil(K / 128) = " + std::to_string(groups)};
  if (p.type("X") == SPF_S8 && k >= int64_t{1} << 17)
    return {"weight.k", std::to_string(k), "below 131072 with s8 activations"};
  if (p.has("azp") && !p.has("azp_adj")) return {"azp_adj", "NULL", "sums of the weight's codes, as azp is given"};
  if (p.has("azp_adj")) {
    if (p.type("X") != SPF_S8) return {"azp_adj", "given", "NULL with e4m3 activations"};
    if (p.extent("G") != 1) return {"azp_adj", "given", "NULL with scales of 128 columns"};
    const spf_quant_scheme& s = p.scheme;
    const bool channel = s.group_k <= 0 || s.group_k >= k;
    if (!is_integer_weight(s.weight) || s.zero != SPF_ZERO_NONE || !channel || s.has_global_scale)
      return {"azp_adj", "given", "NULL, or symmetric integer weights with one scale a channel"};
  }
  const bool codes = p.type("O") == SPF_E4M3;
  if (codes != p.has("out_factor"))
    return {"out_factor", codes ? "NULL" : "given", codes ? "a factor, as out is e4m3" : "NULL unless out is e4m3"};
  return {};
}

// Whether x has to be copied before the copy engine can read it: its rows seen as a matrix of `dims` strides.
inline bool needs_gathering(const Problem& p, int dims, int64_t pitch) {
  return !p.is_aligned16("x") || dims > 1 || (dims == 1 && pitch < p.extent("K"));
}

// What every kernel asks of a problem that reads weights a byte a code, of the same kind as x (layouts k128,
// k128_e4m3).
struct ByteForm {
  const char* layout = "";
  bool fold = false;    // scales every 128 values of K, of x or of the weight
  bool blocks = false;  // those of the weight are the same for 128 channels
  bool trivial = false; // nothing to compute
  PolicyResult refusal; // if layout is empty
};
inline ByteForm byte_form(const Problem& p) {
  const auto no = [](const char* what, const char* why) {
    return ByteForm{"", false, false, false, policy::refuse(what, why)};
  };
  const spf_scalar_type x = p.type("X"), w = p.scheme.weight;
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K");
  const bool four = w == SPF_U4B8; // a byte a code in memory, as numbers of x's type
  if (!four && (x == SPF_E4M3 ? w != SPF_E4M3 : w != SPF_S8 && w != SPF_U8B128))
    return no("type", "takes e4m3 with e4m3 and u4b8 weights, s8 with s8, u8b128 and u4b8 weights");
  if (p.scheme.has_g_idx || p.scheme.zero != SPF_ZERO_NONE || p.scheme.has_global_scale)
    return no("type", "takes weights without zero points, act order and global scale");
  const std::string_view layout = four && x == SPF_E4M3 ? "k128_e4m3" : "k128";
  if (*p.layout != '\0' && layout != p.layout) return no("layout", "reads numbers of the type of x");
  if (p.scheme.group_k > 0 && p.scheme.group_k % 128 != 0)
    return no("shape", "takes one scale a column, or groups of a multiple of 128");
  const bool trivial = m == 0 || n == 0;
  if (k == 0 && !trivial) return no("shape", "takes K of 1 or more");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (m > kMost || n > kMost || k > kMost) return no("shape", "takes M, N and K up to 2^30");
  const bool fold = p.extent("G") > 1 || (p.scheme.group_k > 0 && p.scheme.group_k < k);
  return {layout.data(), fold, p.scheme.group_n < 0 || p.scheme.group_n % 128 == 0, trivial, {}};
}

// The layout of packed 4-bit codes that are decoded for x's type, or "" where byte_form() is to be asked: x has a scale
// a token, the weight one a column or groups of a multiple of 32.
inline const char* packed_layout(const Problem& p) {
  const spf_quant_scheme& s = p.scheme;
  const bool held = s.weight == SPF_U4B8 && s.zero == SPF_ZERO_NONE && !s.has_g_idx && !s.has_global_scale &&
                    has_marlin_form(s.format) && (s.group_k <= 0 || s.group_k % 32 == 0);
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t k = p.extent("K");
  if (!held || p.extent("G") > 1 || k == 0 || p.extent("*") > kMost || p.extent("N") > kMost || k > kMost) return "";
  const std::string_view layout = p.type("X") == SPF_E4M3 ? "marlin_a8_e4m3" : "marlin_a8";
  return *p.layout == '\0' || layout == p.layout ? layout.data() : "";
}

// What sm90_wgmma8 has in the workspace: x where the copy engine cannot read it as it lies; behind that, for tiles of
// many tokens that fold, the factors of their tokens, tile by tile.
struct Wgmma8Room {
  int64_t x_bytes = 0, factor_bytes = 0;
};
inline Wgmma8Room wgmma8_room(const Problem& p, int64_t factor_tokens) {
  const int64_t m = p.extent("*"), k = p.extent("K");
  Wgmma8Room room;
  if (!p.is_aligned16("x") || !p.is_contiguous("x")) room.x_bytes = m * ((k + 15) / 16 * 16);
  if (factor_tokens == 0) return room;
  room.x_bytes = (room.x_bytes + 255) / 256 * 256;
  room.factor_bytes = (m + factor_tokens - 1) / factor_tokens * factor_tokens * ((k + 127) / 128) * 4;
  return room;
}

// 8- and 4-bit weights, any number of tokens, on Hopper's warpgroup tensor cores.
inline PolicyResult sm90_wgmma8_policy(const Problem& p, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  using policy::refuse;
  const spf_scalar_type x = p.type("X");
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K"), group = p.scheme.group_k;
  const char* layout = packed_layout(p);
  const bool packed = *layout != '\0';
  int fold = group <= 0 || group >= k ? 0 : group % 128 == 0 ? 4 : 1;
  bool blocks = false;
  if (!packed) {
    const ByteForm form = byte_form(p);
    if (*form.layout == '\0') return form.refusal;
    layout = form.layout;
    fold = form.fold ? 4 : 0;
    blocks = form.blocks;
  }
  if (m == 0 || n == 0) {
    PolicyResult nothing = policy::accept(0, 0.0);
    nothing.layout = layout;
    return nothing;
  }
  const auto folds_by_blocks = [&](const InstanceRow& row) { return fold != 0 && policy::axis(row, "tokens") > 128; };
  // A kernel that puts the factors of their tokens in order, and what it reads and writes.
  const double order_us = 2.0 + static_cast<double>(m * ((k + 127) / 128)) * 8 / 4.35e6;
  return policy::cheapest(instances, refuse("shape", "has no instance for these scales"), [&](const InstanceRow& row) {
    if (policy::axis(row, "X") != x || policy::axis(row, "fold") != fold ||
        policy::axis(row, "packed") != (packed ? 1 : 0))
      return PolicyResult{};
    // Tiles of 256 tokens fold by one scale for all of their channels.
    if (folds_by_blocks(row) && !blocks) return PolicyResult{};
    const Wgmma8Choice choice = {static_cast<int>(policy::axis(row, "tokens")),
                                 static_cast<int>(policy::axis(row, "tiles")), policy::axis(row, "along") != 0,
                                 static_cast<int>(policy::axis(row, "share")), packed};
    double cost = wgmma8_plan({m, n, k, packed ? 4 : 8}, facts, choice, fold).microseconds;
    if (folds_by_blocks(row)) cost += order_us;
    const Wgmma8Room room = wgmma8_room(p, folds_by_blocks(row) ? policy::axis(row, "tokens") : 0);
    PolicyResult result = policy::offer(cost, room.x_bytes + room.factor_bytes);
    result.layout = layout;
    return result;
  });
}

} // namespace spf::linear

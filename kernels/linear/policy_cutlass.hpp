// When scaled_linear runs on CUTLASS's tcgen05 kernels, and where what its epilogue cannot read or write goes. Costs
// are microseconds, from data sheets: none of it has run.
#pragma once

#include <cmath>

#include "kernels/linear/blocks.hpp"
#include "kernels/linear/policy_cuda.hpp"
#include "kernels/linear/policy_scaled.hpp"

namespace spf::linear {

// What a launch puts into the workspace, in this order, each on 256 bytes.
struct CutlassRoom {
  bool direct = false; // the epilogue writes out; else sums, which a second kernel ends
  // Vectors in f32 that are not there as they are: scales of tokens, scales of channels, bias; x; sums.
  int64_t tokens_bytes = 0, channels_bytes = 0, bias_bytes = 0, x_bytes = 0, sums_bytes = 0;
  int64_t x_pitch = 0, sums_pitch = 0; // elements

  int64_t bytes() const { return tokens_bytes + channels_bytes + bias_bytes + x_bytes + sums_bytes; }
};

inline CutlassRoom cutlass_room(const Problem& p) {
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K");
  const auto section = [](int64_t bytes) { return stream_ceil(bytes, 256) * 256; };
  CutlassRoom r;
  r.direct =
      p.type("O") == SPF_BF16 && p.is_contiguous("out") && p.is_aligned16("out") && n % 8 == 0 && !p.has("azp_adj");
  r.x_pitch = k;
  if (!p.is_aligned16("x") || !p.is_contiguous("x")) r.x_bytes = section(m * k);
  if (!r.direct) {
    r.sums_pitch = stream_ceil(n, 8) * 8;
    r.sums_bytes = section(m * r.sums_pitch * 4);
    return r;
  }
  if (!p.is_contiguous("x_scale")) r.tokens_bytes = section(m * 4);
  if (p.has("channel_scale")) r.channels_bytes = section(n * 4);
  if (p.has("bias") && p.type("B") != SPF_F32) r.bias_bytes = section(n * 4);
  return r;
}

// Half of what is expected, so that no other kernel comes first for few tokens: those read other layouts, and a weight
// has one for all.
//
// Microseconds with tiles of 256 tokens, on two multiprocessors, or of fewer on one; `macs`: of a multiprocessor's
// microsecond, `bytes`: of the weight.
inline double cutlass_cost(const Problem& p, const spf_device_facts& facts, int64_t rows, int64_t columns, double macs,
                           double bytes, const CutlassRoom& room) {
  const double multiprocessors = facts.sm_count > 0 ? facts.sm_count : 1;
  const auto blocks = static_cast<double>(stream_ceil(p.extent("*"), rows) * stream_ceil(p.extent("N"), columns));
  const double busy = std::min(blocks, multiprocessors), rounds = std::ceil(blocks / multiprocessors);
  const double multiply = rounds * static_cast<double>(rows * columns) * static_cast<double>(p.extent("K")) / macs;
  const double stream = bytes / (0.8 * cuda_rates(facts.compute_capability).bytes * multiprocessors);
  const double arriving = bytes / busy / 70e3; // of one multiprocessor's copies
  return 0.5 * (4.0 + std::max({multiply, stream, arriving}) + (room.bytes() > 0 ? 3.0 : 0.0) +
                static_cast<double>(room.sums_bytes) / (30e3 * multiprocessors));
}

// Rows of weights of x's type as the layout "reference" holds them, which the copy engine reads where they start on 16
// bytes.
inline PolicyResult sm100_cutlass_policy(const Problem& p, const spf_device_facts& facts,
                                         std::span<const InstanceRow> instances) {
  using policy::refuse;
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K");
  const spf_scalar_type x = p.type("X");
  if (p.scheme.weight != x) return refuse("type", "takes weights of the type of x");
  if (p.scheme.has_g_idx || p.scheme.zero != SPF_ZERO_NONE || p.scheme.has_global_scale)
    return refuse("type", "takes weights without zero points, act order and global scale");
  if (p.extent("G") > 1 || (p.scheme.group_k > 0 && p.scheme.group_k < k))
    return refuse("type", "takes one scale a token and one a channel");
  if (m == 0 || n == 0) return policy::accept(0, 0.0);
  if (k == 0 || k % 16 != 0) return refuse("shape", "takes K that is a multiple of 16 above 0");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (m > kMost || n > kMost || k > kMost) return refuse("shape", "takes M, N and K up to 2^30");
  const CutlassRoom room = cutlass_room(p);
  const spf_scalar_type end = room.direct ? SPF_BF16 : SPF_F32;
  const double bytes = static_cast<double>(n) * static_cast<double>(k);
  return policy::cheapest(instances, refuse("type", "has no instance for these types"), [&](const InstanceRow& row) {
    if (policy::axis(row, "X") != x || policy::axis(row, "end") != end) return PolicyResult{};
    // Tiles of 64 tokens use a quarter of the tensor cores, and spread over more of them.
    const bool wide = policy::axis(row, "tile") == 256;
    const int64_t side = wide ? 128 : 64; // of a multiprocessor's part
    return policy::offer(cutlass_cost(p, facts, side, side, (wide ? 0.7 : 0.18) * 15e6, bytes, room), room.bytes());
  });
}

// The same for the linear layers of block-scaled operands: no scales of tokens or channels; x in whole pieces of 16
// bytes, x_pitch bytes a row.
inline CutlassRoom cutlass_block_room(const Problem& p) {
  BlockLinear op = {};
  is_block_linear(*p.op, &op);
  const int64_t m = p.extent("*"), n = p.extent("N"), bytes = p.extent("K") / values_a_byte(op);
  const auto section = [](int64_t size) { return stream_ceil(size, 256) * 256; };
  CutlassRoom r;
  r.direct = p.type("O") == SPF_BF16 && p.is_contiguous("out") && p.is_aligned16("out") && n % 8 == 0;
  r.x_pitch = stream_ceil(bytes, 16) * 16;
  if (r.x_pitch != bytes || !p.is_aligned16("x") || !p.is_contiguous("x")) r.x_bytes = section(m * r.x_pitch);
  if (!r.direct) {
    r.sums_pitch = stream_ceil(n, 8) * 8;
    r.sums_bytes = section(m * r.sums_pitch * 4);
  } else if (p.has("bias") && p.type("B") != SPF_F32) {
    r.bias_bytes = section(n * 4);
  }
  return r;
}

inline PolicyResult sm100_cutlass_blocks_policy(const Problem& p, const spf_device_facts& facts,
                                                std::span<const InstanceRow> instances) {
  using policy::refuse;
  BlockLinear op = {};
  is_block_linear(*p.op, &op);
  const spf_scalar_type weight = p.scheme.weight, x = op == BlockLinear::kMxfp8 ? p.type("X") : SPF_E2M1;
  if (weight != x) return refuse("type", "takes weights of the type of x");
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K");
  if (m == 0 || n == 0) return policy::accept(0, 0.0);
  if (k == 0) return refuse("shape", "takes K above 0");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (m > kMost || n > kMost || k > kMost) return refuse("shape", "takes M, N and K up to 2^30");
  const CutlassRoom room = cutlass_block_room(p);
  const spf_scalar_type end = room.direct ? SPF_BF16 : SPF_F32;
  const double bytes = static_cast<double>(n) * static_cast<double>(k) / static_cast<double>(values_a_byte(op));
  const double macs = x == SPF_E2M1 ? 60e6 : 15e6;
  return policy::cheapest(instances, refuse("type", "has no instance for these types"), [&](const InstanceRow& row) {
    if (policy::axis(row, "x") != x || policy::axis(row, "end") != end) return PolicyResult{};
    const bool wide = policy::axis(row, "tile") == 256;
    return policy::offer(cutlass_cost(p, facts, 128, 128, (wide ? 0.6 : 0.5) * macs, bytes, room), room.bytes());
  });
}

} // namespace spf::linear

// When scaled_linear runs on CUTLASS's tcgen05 kernels, and where what its epilogue cannot read or write goes. Costs
// are microseconds, from data sheets: none of it has run.
#pragma once

#include <cmath>

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
  const spf_scalar_type out = p.type("O");
  r.direct = (out == SPF_F16 || out == SPF_BF16) && p.is_contiguous("out") && p.is_aligned16("out") && n % 8 == 0 &&
             !p.has("azp_adj");
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
  const spf_scalar_type end = room.direct ? p.type("O") : SPF_F32;
  const double multiprocessors = facts.sm_count > 0 ? facts.sm_count : 1;
  const double weights = static_cast<double>(n) * static_cast<double>(k);
  PolicyResult best = refuse("type", "has no instance for these types");
  for (size_t i = 0; i < instances.size(); ++i) {
    if (policy::axis(instances[i], "X") != x || policy::axis(instances[i], "end") != end) continue;
    // A tile of 256 is one of two multiprocessors. Those of 64 use a quarter of the tensor cores, and spread over more.
    const bool wide = policy::axis(instances[i], "tile") == 256;
    const int64_t rows = wide ? 128 : 64, columns = wide ? 128 : 64;
    const auto blocks = static_cast<double>(stream_ceil(m, rows) * stream_ceil(n, columns));
    const double busy = std::min(blocks, multiprocessors), rounds = std::ceil(blocks / multiprocessors);
    const double multiply =
        rounds * static_cast<double>(rows * columns) * static_cast<double>(k) / ((wide ? 0.7 : 0.18) * 15e6);
    const double stream = weights / (0.8 * cuda_rates(facts.compute_capability).bytes * multiprocessors);
    const double arriving = weights / busy / 70e3; // of one multiprocessor's copies
    const double cost = 4.0 + std::max({multiply, stream, arriving}) + (room.bytes() > 0 ? 3.0 : 0.0) +
                        static_cast<double>(room.sums_bytes) / (30e3 * multiprocessors);
    if (best.accepted && cost >= best.cost) continue;
    best = policy::accept(static_cast<int>(i), cost);
    best.workspace_bytes = static_cast<size_t>(room.bytes());
  }
  return best;
}

} // namespace spf::linear

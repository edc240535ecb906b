// Which instance of sm90_sparse runs. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"
#include "kernels/linear/policy_scaled.hpp"
#include "kernels/linear/sm90_sparse.hpp"

namespace spf::linear {

// 2:4 sparse weights whose codes are numbers of the type `type`, as x is: the value of the axis `axis`.
inline PolicyResult sparse_policy(const Problem& p, const spf_device_facts& facts,
                                  std::span<const InstanceRow> instances, const char* axis, spf_scalar_type type) {
  using policy::refuse;
  const int64_t m = p.extent("*"), n = p.extent("N"), k = p.extent("K");
  if (p.scheme.sparsity != SPF_SPARSITY_2_OF_4) return refuse("type", "takes 2:4 sparse weights");
  if (p.scheme.has_g_idx || p.scheme.zero != SPF_ZERO_NONE || p.scheme.has_global_scale)
    return refuse("type", "takes weights without zero points, act order and global scale");
  if (p.scheme.group_k > 0) return refuse("shape", "takes one scale of all of K");
  if (m == 0 || n == 0) return policy::accept(0, 0.0);
  if (k == 0) return refuse("shape", "takes K of 1 or more");
  constexpr int64_t kMost = int64_t{1} << 29; // rows of x in bytes fit 32 bits
  if (m > kMost || n > kMost || k > kMost) return refuse("shape", "takes M, N and K up to 2^29");
  const int width = sparse_width(type);
  // Room for x where the copy engine cannot read it as it lies.
  const bool gathers = !p.is_aligned16("x") || !p.is_contiguous("x");
  const int64_t room = gathers ? m * ((k * width + 15) / 16 * 16) : 0;
  return policy::cheapest(instances, refuse("type", "has no instance for this type"), [&](const InstanceRow& row) {
    if (policy::axis(row, axis) != type) return PolicyResult{};
    const Wgmma8Choice choice = {static_cast<int>(policy::axis(row, "tokens")), 1, policy::axis(row, "along") != 0,
                                 static_cast<int>(policy::axis(row, "share"))};
    return policy::offer(sparse_plan({m, n, k, width * 8}, facts, choice).microseconds, room);
  });
}

inline PolicyResult sm90_sparse_policy(const Problem& p, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  const spf_scalar_type type = p.type("T");
  if ((type != SPF_F16 && type != SPF_BF16) || p.scheme.format != SPF_FORMAT_PLAIN || p.scheme.weight != type)
    return policy::refuse("type", "takes f16 or bf16 weights, activations of the same type");
  return sparse_policy(p, facts, instances, "T", type);
}

inline PolicyResult sm90_sparse8_policy(const Problem& p, const spf_device_facts& facts,
                                        std::span<const InstanceRow> instances) {
  const spf_scalar_type type = p.type("X"), w = p.scheme.weight;
  if (type == SPF_E4M3 ? w != SPF_E4M3 : w != SPF_S8 && w != SPF_U8B128)
    return policy::refuse("type", "takes e4m3 with e4m3 weights, s8 with s8 and u8b128 weights");
  if (p.extent("G") > 1) return policy::refuse("shape", "takes one scale a token");
  return sparse_policy(p, facts, instances, "X", type);
}

} // namespace spf::linear

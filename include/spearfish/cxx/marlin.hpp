// spearfish/marlin.h with vectors for tensors; refusals throw.
#pragma once

#include <vector>

#include "spearfish/cxx/error.hpp"
#include "spearfish/marlin.h"

namespace spearfish {

inline std::vector<int32_t> gptq_marlin_repack(const int32_t* qweight, int64_t k, int64_t n, int32_t bits,
                                               const int32_t* perm = nullptr, bool act8 = false) {
  std::vector<int32_t> out(k > 0 && n > 0 ? static_cast<size_t>(k * n * bits / 32) : 1);
  check(spf_gptq_marlin_repack(qweight, perm, k, n, bits, act8 ? 1 : 0, out.data()));
  return out;
}

inline std::vector<int32_t> awq_marlin_repack(const int32_t* qweight, int64_t k, int64_t n, int32_t bits,
                                              bool act8 = false) {
  std::vector<int32_t> out(k > 0 && n > 0 ? static_cast<size_t>(k * n * bits / 32) : 1);
  check(spf_awq_marlin_repack(qweight, k, n, bits, act8 ? 1 : 0, out.data()));
  return out;
}

} // namespace spearfish

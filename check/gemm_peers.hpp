// What a GPU's own library takes for the plain matrix product of a linear layer, timed as the bench times its rows.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "check/bench.hpp"
#include "check/memory.hpp"

namespace spf::check {

class GemmPeers {
 public:
  virtual ~GemmPeers() = default;
  // Name ("cublaslt_bf16", "cublaslt_fp8") -> times of out[m,n] = x[m,k] W[n,k]^T with 16-bit out, for each that
  // takes the extents. Weights rotate as the bench's do.
  virtual std::map<std::string, PeerTime> time(int64_t m, int64_t n, int64_t k) = 0;
  // Operations per second of its best product, bf16 or fp8, a multiply-accumulate counted as 2; 0 if it has none.
  virtual double best_rate(bool fp8) = 0;
};

// cuBLASLt, looked for at run time as the loader looks for libraries. Null, and the reason in *why, where there is none
// or this build knows no cublasLt.h.
std::unique_ptr<GemmPeers> open_gemm_peers(Memory& memory, std::string* why);

} // namespace spf::check

// Builds without a CUDA toolkit have no GPU library to compare with.
#include "check/gemm_peers.hpp"

namespace spf::check {

std::unique_ptr<GemmPeers> open_gemm_peers(Memory&, std::string* why) {
  *why = "this build holds no CUDA code";
  return nullptr;
}

} // namespace spf::check

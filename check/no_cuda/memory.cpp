// Builds without a CUDA toolkit.
#include "check/memory.hpp"

namespace spf::check {

std::unique_ptr<Memory> open_cuda(int) {
  throw NoDevice("this build holds no CUDA code; configure with -DSPEARFISH_CUDA=ON");
}

} // namespace spf::check

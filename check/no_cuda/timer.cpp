// Builds without a CUDA toolkit have no GPU to time.
#include "check/bench.hpp"

namespace spf::check {

Limits measure_cuda(Memory&) { throw NoDevice("this build holds no CUDA code"); }

std::vector<double> time_graph(Memory&, int, int, bool, const std::function<void(int, void*)>&) {
  throw NoDevice("this build holds no CUDA code");
}

} // namespace spf::check

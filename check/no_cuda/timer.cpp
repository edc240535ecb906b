// Builds without a CUDA toolkit have no GPU to time.
#include "check/bench.hpp"

namespace spf::check {

Limits measure_cuda(Memory&) { throw NoDevice("this build holds no CUDA code"); }

GraphTimes time_graph(Memory&, const GraphOptions&, const std::function<void(int, void*)>&) {
  throw NoDevice("this build holds no CUDA code");
}

} // namespace spf::check

// Tiles of many tokens that fold sums by a factor of the token and the weight's block: whatever way the scales of
// tokens lie, the results are those of the reference, and the same bits.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "check/compare.hpp"
#include "check/conformance.hpp"
#include "check/op.hpp"
#include "device.hpp"

namespace {

using namespace spf::check;

// Instances with such tiles; none where they are not built, or do not run.
std::vector<std::string> block_instances() {
  std::vector<std::string> found;
  for (const Kernel& kernel : kernels_of("scaled_linear", linear_cuda::device().device().kind))
    for (const std::string& instance : kernel.instances)
      if (kernel.name == "linear/sm90_wgmma8" && instance.find("tokens=256") != std::string::npos &&
          instance.find("fold=4") != std::string::npos)
        found.push_back(kernel.pattern(instance));
  return found;
}

Problem blockwise(std::vector<int64_t> leading, int64_t n, int64_t k, int64_t groups, const char* out) {
  Case c;
  c.op = "scaled_linear";
  c.types = {{"X", "e4m3"}, {"B", "f32"}, {"O", out}};
  c.weight = "fp8-block";
  c.leading = std::move(leading);
  c.dims = {{"N", n}, {"K", k}, {"G", groups}};
  c.absent = {"azp", "azp_adj"};
  if (std::string(out) != "e4m3") c.absent.insert("out_factor");
  return make_problem(c);
}

int place_of(const Problem& problem, const char* operand) {
  for (size_t i = 0; i < problem.operands.size(); ++i)
    if (problem.op->operands[i].name == operand) return static_cast<int>(i);
  return -1;
}

struct Lie {
  const char* how;
  Layout layout;
};

// Of [.., groups] scales.
std::vector<Lie> ways(const std::vector<int64_t>& shape) {
  const std::vector<int64_t> plain = contiguous_strides(shape);
  const int64_t groups = shape.back(), tokens = shape.size() < 2 ? 1 : plain[0] * shape[0] / groups;
  Layout rows, apart, along, padded, odd;
  rows.misalign = 4;
  for (size_t d = 0; d + 1 < shape.size(); ++d) {
    apart.stride.push_back(plain[d] / groups * (groups + 3));
    along.stride.push_back(plain[d] / groups);
  }
  apart.stride.push_back(1);
  padded = odd = along;
  along.stride.push_back(tokens);
  padded.stride.push_back((tokens + 3) / 4 * 4 + 4); // each group's on 16 bytes
  odd.stride.push_back(tokens + 1);
  odd.misalign = 4;
  std::vector<Lie> all = {{"rows", {}},          {"rows 4 bytes off", rows},
                          {"rows apart", apart}, {"along tokens", along},
                          {"padded", padded},    {"odd, along tokens", odd}};
  if (shape.size() == 3) {
    Layout exchanged; // leading dimensions that are not one
    exchanged.stride = {groups, groups * shape[0], 1};
    all.push_back({"exchanged", exchanged});
  }
  return all;
}

TEST(Blocks, ResultsDoNotDependOnHowScalesLie) {
  Session session{linear_cuda::device()};
  // K of a part of a ring and a block, of a ring, of two rounds and a part of a block, and so much that blocks divide
  // it; 1 and 2 tiles of tokens; channels of a part of a tile, and of two and three tiles; one scale a token, and one a
  // token and block.
  const std::vector<Problem> problems = {
      blockwise({5}, 97, 200, 2, "bf16"),      blockwise({256}, 136, 512, 4, "f16"),
      blockwise({132}, 40, 384, 1, "bf16"),    blockwise({2, 130}, 130, 897, 8, "f32"),
      blockwise({4, 129}, 40, 640, 5, "bf16"), blockwise({300}, 264, 256, 2, "e4m3"),
      blockwise({132}, 40, 2980, 24, "f16"),
  };
  bool ran = false;
  for (const std::string& instance : block_instances())
    for (const Problem& problem : problems) {
      const std::vector<Codes> inputs = make_inputs(problem, Pattern::kPlain), expected = reference(problem, inputs);
      const auto scales = static_cast<size_t>(place_of(problem, "x_scale"));
      std::vector<Codes> first;
      for (const Lie& lie : ways(problem.operands[scales].shape)) {
        std::vector<Layout> layouts(problem.operands.size());
        layouts[scales] = lie.layout;
        Call call(session, problem, layouts);
        call.fill(inputs);
        RunOptions options;
        options.demand.require = instance;
        const Outcome outcome = call.launch(options);
        if (!ran && outcome.status == SPF_REQUIREMENT_UNMET) GTEST_SKIP() << outcome.error.message;
        ran = true;
        const std::string here = problem.name + ", scales " + lie.how + ", " + instance;
        ASSERT_EQ(outcome.status, SPF_OK) << here << ": " << outcome.error.message;
        EXPECT_EQ(check_outcome(problem, inputs, expected, outcome), "") << here;
        EXPECT_GT(outcome.plan.workspace_bytes, 0U) << here;
        if (first.empty()) first = outcome.outputs;
        EXPECT_EQ(first_difference(problem, first, outcome.outputs), "") << here;
      }
    }
  if (!ran) GTEST_SKIP() << "no such tile is built";
}

} // namespace

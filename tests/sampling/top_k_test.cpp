// The K best of windows, penalties and embedding by hand: ties, NaN, places left over, windows beyond the row.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace spearfish {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

class TopK : public testing::TestWithParam<const char*> {
 protected:
  // Plans, provides the workspace, and runs on the kernel under test.
  template <class Body>
  void run(Body&& body) const {
    Plan plan;
    body(Launch().require(GetParam()).plan_only(plan));
    const Buffer workspace(plan.workspace_bytes());
    body(Launch().require(GetParam()).workspace(workspace.data(), workspace.size()));
  }

  std::vector<int64_t> best(std::vector<float> logits, int64_t k, std::vector<float>* values = nullptr) const {
    std::vector<int64_t> indices(static_cast<size_t>(k), -7);
    std::vector<float> found(static_cast<size_t>(k), -7);
    run([&](const Launch& launch) {
      top_k(view(logits.data(), {static_cast<int64_t>(logits.size())}), view(found.data(), {k}),
            view(indices.data(), {k}), launch);
    });
    if (values != nullptr) *values = found;
    return indices;
  }
};

std::string kernel_name(const testing::TestParamInfo<const char*>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(Kernels, TopK, testing::Values("reference", "portable_select"), kernel_name);

using Indices = std::vector<int64_t>;

TEST_P(TopK, GoesByValueThenByIndex) {
  EXPECT_EQ(best({1, 5, 3, 5, 2, 5}, 4), (Indices{1, 3, 5, 2}));
  EXPECT_EQ(best({1, 5, 3, 5, 2, 5}, 2), (Indices{1, 3})) << "the lower indices of equal ones";
  EXPECT_EQ(best({-0.0f, 0.0f, -1}, 2), (Indices{0, 1})) << "zeros of both signs are equal";
  EXPECT_EQ(best({kInf, -kInf, kNan, 3, -kNan}, 5), (Indices{2, 4, 0, 3, 1})) << "NaN is above all";
  EXPECT_EQ(best(std::vector<float>(50, 2.5f), 3), (Indices{0, 1, 2}));
}

TEST_P(TopK, LeavesMinusOneWhereARowIsTooShort) {
  std::vector<float> values;
  EXPECT_EQ(best({4, 7}, 4, &values), (Indices{1, 0, -1, -1}));
  EXPECT_EQ(values, (std::vector<float>{7, 4, -kInf, -kInf}));
  EXPECT_EQ(best({}, 2), (Indices{-1, -1}));
}

TEST_P(TopK, WindowsAreCutToTheRowAndRelativeToTheirStart) {
  std::vector<float> logits;
  for (int row = 0; row < 6; ++row) logits.insert(logits.end(), {9, 1, 8, 2, 7, 3});
  std::vector<int32_t> starts = {0, 1, 3, 5, 4, -3}, ends = {6, 6, 4, 5, 99, 3};
  std::vector<int32_t> indices(6 * 3, -7);
  run([&](const Launch& launch) {
    top_k_per_row_prefill(view(logits.data(), {6, 6}), view(starts.data(), {6}), view(ends.data(), {6}),
                          view(indices.data(), {6, 3}), launch);
  });
  EXPECT_EQ(indices, (std::vector<int32_t>{0, 2, 4, 1, 3, 4, 0, -1, -1, -1, -1, -1, 0, 1, -1, 0, 1, 2}));
  std::vector<int32_t> lengths = {6, 5, 1, 0, 95, 3};
  std::vector<int32_t> again(indices.size(), -7);
  starts[5] = 0;
  run([&](const Launch& launch) {
    large_context_topk(view(logits.data(), {6, 6}), view(lengths.data(), {6}), view(starts.data(), {6}),
                       view(again.data(), {6, 3}), launch);
  });
  EXPECT_EQ(again, indices);
}

TEST_P(TopK, DecodeRowsSeeOneEntryMoreEach) {
  std::vector<float> logits;
  for (int row = 0; row < 4; ++row) logits.insert(logits.end(), {1, 2, 3, 4, 5});
  std::vector<int32_t> lengths = {3, 5}, indices(4 * 2, -7);
  run([&](const Launch& launch) {
    top_k_per_row_decode(view(logits.data(), {2, 2, 5}), view(lengths.data(), {2}), view(indices.data(), {2, 2, 2}),
                         launch);
  });
  EXPECT_EQ(indices, (std::vector<int32_t>{0, 1, 1, 2, 2, 3, 3, 4}));
}

TEST(Penalties, FollowTheFormula) {
  for (const char* kernel : {"reference", "portable_elementwise"}) {
    std::vector<float> logits = {4, -4, 4, -4, 4, 1, 4, -4};
    bool prompt[] = {true, true, false, false, false, false, true, false};
    std::vector<int32_t> counts = {0, 0, 3, 1, 0, -2, 2, 0};
    std::vector<float> repetition = {2}, presence = {0.5f}, frequency = {0.25f};
    apply_penalties(view(logits.data(), {1, 8}), view(prompt, {1, 8}), view(counts.data(), {1, 8}),
                    {view(repetition.data(), {1}), view(presence.data(), {1}), view(frequency.data(), {1})},
                    Launch().require(kernel));
    EXPECT_EQ(logits, (std::vector<float>{2, -8, 0.75f, -8.75f, 4, 1, 1, -4})) << kernel;
  }
}

TEST(Embedding, GivesZerosForIdsOutsideTheTable) {
  for (const char* kernel : {"reference", "portable_copy"}) {
    std::vector<float> table = {1, 2, 3, 4, 5, 6}, out(5 * 2, -7);
    std::vector<int64_t> ids = {2, -1, 0, 3, std::numeric_limits<int64_t>::max()};
    embedding(view(ids.data(), {5}), view(table.data(), {3, 2}), view(out.data(), {5, 2}), {},
              Launch().require(kernel));
    EXPECT_EQ(out, (std::vector<float>{5, 6, 0, 0, 1, 2, 0, 0, 0, 0})) << kernel;
    embedding(view(ids.data(), {5}), view(table.data(), {3, 2}), view(out.data(), {5, 2}), {0.5},
              Launch().require(kernel));
    EXPECT_EQ(out, (std::vector<float>{2.5f, 3, 0, 0, 0.5f, 1, 0, 0, 0, 0})) << kernel;
  }
}

} // namespace
} // namespace spearfish

// policy::cheapest(), which policies choose among instances with.
#include <array>

#include <gtest/gtest.h>

#include "kernels/common/policy.hpp"

namespace {

using spf::InstanceRow;
using spf::PolicyResult;

// Of instances that cost so much, and need twice that; one below 0 does not fit.
PolicyResult choose(const std::array<double, 4>& costs) {
  std::array<InstanceRow, 4> rows = {};
  return spf::policy::cheapest(rows, spf::policy::refuse("shape", "has none"), [&](const InstanceRow& row) {
    const double cost = costs[static_cast<size_t>(&row - rows.data())];
    if (cost < 0) return PolicyResult{};
    PolicyResult offer = spf::policy::offer(cost, static_cast<int64_t>(2 * cost));
    offer.layout = "rows";
    return offer;
  });
}

TEST(Cheapest, TakesTheLeastOfThoseThatFit) {
  const PolicyResult best = choose({7, -1, 3, 5});
  EXPECT_TRUE(best.accepted);
  EXPECT_EQ(best.instance, 2);
  EXPECT_EQ(best.cost, 3);
  EXPECT_EQ(best.workspace_bytes, 6u);
  EXPECT_STREQ(best.layout, "rows");
}

TEST(Cheapest, TakesTheFirstOfEquals) { EXPECT_EQ(choose({4, 2, 2, 2}).instance, 1); }

TEST(Cheapest, RefusesWhereNoneFits) {
  const PolicyResult none = choose({-1, -1, -1, -1});
  EXPECT_FALSE(none.accepted);
  EXPECT_STREQ(none.code, "shape");
  EXPECT_STREQ(none.reason, "has none");
}

} // namespace

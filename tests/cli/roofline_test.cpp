// The roofline plot: points lie where their numbers say, relative to the roof.
#include "cli/roofline.hpp"

#include <cmath>
#include <regex>

#include <gtest/gtest.h>

namespace spf::test {
namespace {

using spearfish::cli::roofline_svg;

std::vector<std::pair<double, double>> matches(const std::string& svg, const char* pattern) {
  std::vector<std::pair<double, double>> found;
  const std::regex expression(pattern);
  for (std::sregex_iterator at(svg.begin(), svg.end(), expression), end; at != end; ++at)
    found.emplace_back(std::stod((*at)[1]), std::stod((*at)[2]));
  return found;
}

TEST(Roofline, PointsAtTheLimitsTouchTheRoof) {
  constexpr double kBytes = 4e12, kOperations = 8e14; // the ridge is at 200 operations a byte
  const std::string svg = roofline_svg("a <b>", kBytes, kOperations,
                                       {{2e9, 1e8, 25, "memory"},      // 20 a byte, 80 TFLOP/s: the limit
                                        {2e9, 1e8, 250, "memory"},     // a tenth of it
                                        {8e11, 1e9, 1000, "tensor"}}); // 800 a byte, 800 TFLOP/s: the limit
  EXPECT_NE(svg.find("a &lt;b&gt;"), std::string::npos);
  const auto points = matches(svg, R"re(circle cx="([0-9.]+)" cy="([0-9.]+)")re");
  ASSERT_EQ(points.size(), 3u);
  const auto starts = matches(svg, R"re(M([0-9.]+) ([0-9.]+)L[0-9. ]+" stroke="black")re");
  const auto ends = matches(svg, R"re(L([0-9.]+) ([0-9.]+)" stroke="black")re");
  ASSERT_EQ(starts.size(), 2u);
  // Where the slanting roof is above the first two points, which have the same intensity.
  const double slope = (ends[0].second - starts[0].second) / (ends[0].first - starts[0].first);
  EXPECT_NEAR(points[0].second, starts[0].second + slope * (points[0].first - starts[0].first), 0.3);
  EXPECT_EQ(points[0].first, points[1].first);
  EXPECT_GT(points[1].second, points[0].second + 50) << "slower is lower";
  EXPECT_NEAR(points[2].second, starts[1].second, 0.11);
  EXPECT_GT(points[2].first, starts[1].first) << "right of the ridge";
  EXPECT_NE(svg.find(">memory</text>"), std::string::npos);
  EXPECT_NE(svg.find(">tensor</text>"), std::string::npos);
}

} // namespace
} // namespace spf::test

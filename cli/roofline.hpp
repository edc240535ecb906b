// A roofline: measured rates over arithmetic intensity, below what memory and the arithmetic units allow.
#pragma once

#include <string>
#include <vector>

namespace spearfish::cli {

struct RooflinePoint {
  double operations, bytes, us; // of one call; bytes: the fewest that it moves
  std::string series;           // points of a series share a colour, and the legend names it
};

// Both axes are logarithmic. bytes_per_second and operations_per_second above 0; points with a positive number each.
std::string roofline_svg(const std::string& title, double bytes_per_second, double operations_per_second,
                         const std::vector<RooflinePoint>& points);

} // namespace spearfish::cli

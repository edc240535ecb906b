// A labelled scatter plot as SVG.
#pragma once

#include <string>
#include <vector>

namespace spearfish::cli {

struct PlotPoint {
  double x, y;
  std::string label;
};

// Axes from round numbers around the points; labels are moved apart where they would overlap. Finite points only.
std::string scatter_svg(const std::string& title, const std::string& x_label, const std::string& y_label,
                        const std::vector<PlotPoint>& points);

} // namespace spearfish::cli

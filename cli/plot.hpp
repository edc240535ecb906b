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

// What every plot has: the head of the file, a white ground and the title; the names of its axes; text, escaped.
std::string svg_start(double width, double height, double title_at, const std::string& title);
std::string svg_labels(double left, double right, double top, double bottom, const std::string& x_label,
                       const std::string& y_label);
std::string svg_text(const std::string& text);

} // namespace spearfish::cli

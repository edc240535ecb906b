#include "roofline.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "plot.hpp"

namespace spearfish::cli {
namespace {

constexpr double kWidth = 900, kHeight = 560, kLeft = 80, kRight = 240, kTop = 60, kBottom = 70;
constexpr const char* kColours[] = {"#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a"};

// Powers of ten around what is drawn.
struct LogAxis {
  double lo, hi;

  LogAxis(double least, double most) : lo(std::floor(std::log10(least))), hi(std::ceil(std::log10(most))) {
    if (hi <= lo) hi = lo + 1;
  }
  double share(double value) const { return (std::log10(value) - lo) / (hi - lo); }
};

} // namespace

std::string roofline_svg(const std::string& title, double bytes_per_second, double operations_per_second,
                         const std::vector<RooflinePoint>& points) {
  const double ridge = operations_per_second / bytes_per_second;
  double x_lo = ridge, x_hi = ridge, y_lo = operations_per_second;
  for (const RooflinePoint& p : points) {
    x_lo = std::min(x_lo, p.operations / p.bytes);
    x_hi = std::max(x_hi, p.operations / p.bytes);
    y_lo = std::min(y_lo, 1e6 * p.operations / p.us);
  }
  const LogAxis x(x_lo, x_hi * 2), y(y_lo / 1e12, operations_per_second / 1e12);
  const auto px = [&](double v) { return kLeft + x.share(v) * (kWidth - kLeft - kRight); };
  const auto py = [&](double v) { return kHeight - kBottom - y.share(v) * (kHeight - kTop - kBottom); };
  std::string out = svg_start(kWidth, kHeight, kLeft, title);
  const auto line = [&](double x1, double y1, double x2, double y2, const char* colour) {
    out += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2, y2, colour);
  };
  for (double e = x.lo; e <= x.hi; ++e) {
    const double at = px(std::pow(10.0, e));
    line(at, kTop, at, kHeight - kBottom, "#ddd");
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g}</text>\n", at,
                       kHeight - kBottom + 18, std::pow(10.0, e));
  }
  for (double e = y.lo; e <= y.hi; ++e) {
    const double at = py(std::pow(10.0, e));
    line(kLeft, at, kWidth - kRight, at, "#ddd");
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n", kLeft - 8, at + 4,
                       std::pow(10.0, e));
  }
  out += svg_labels(kLeft, kWidth - kRight, kTop, kHeight - kBottom, "operations per byte", "TFLOP/s");
  // The roof: memory up to the ridge, the arithmetic units beyond it.
  const double start = std::max(std::pow(10.0, x.lo), 1e12 * std::pow(10.0, y.lo) / bytes_per_second);
  const double peak = py(operations_per_second / 1e12);
  line(px(start), py(start * bytes_per_second / 1e12), px(ridge), peak, "black");
  line(px(ridge), peak, px(std::pow(10.0, x.hi)), peak, "black");

  std::vector<std::string> series;
  for (const RooflinePoint& p : points) {
    const auto found = std::find(series.begin(), series.end(), p.series);
    const auto index = static_cast<size_t>(found - series.begin());
    if (found == series.end()) series.push_back(p.series);
    out +=
        fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\" fill-opacity=\"0.7\"/>\n",
                    px(p.operations / p.bytes), py(p.operations / p.us / 1e6), kColours[index % std::size(kColours)]);
  }
  for (size_t i = 0; i < series.size(); ++i) {
    const double at = kTop + 10 + 20 * static_cast<double>(i);
    out += fmt::format("<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"10\" height=\"10\" fill=\"{2}\"/>\n",
                       kWidth - kRight + 16, at - 9, kColours[i % std::size(kColours)]);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", kWidth - kRight + 32, at, svg_text(series[i]));
  }
  return out + "</svg>\n";
}

} // namespace spearfish::cli

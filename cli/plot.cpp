#include "plot.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace spearfish::cli {
namespace {

constexpr double kWidth = 900, kHeight = 560, kLeft = 80, kRight = 40, kTop = 60, kBottom = 70;
constexpr double kText = 13; // height of a line of labels

// An axis from `lo` to `hi` with a step of 1, 2 or 5 times a power of ten.
struct Axis {
  double lo, hi, step;

  Axis(double least, double most) {
    if (!(most > least)) most = least + 1;
    const double rough = (most - least) / 6, power = std::pow(10.0, std::floor(std::log10(rough)));
    step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
    lo = std::floor(least / step) * step;
    hi = std::ceil(most / step) * step;
  }
  double share(double value) const { return (value - lo) / (hi - lo); }
  std::string text(double value) const {
    const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    return fmt::format("{:.{}f}", std::fabs(value) < step / 1e6 ? 0.0 : value, digits);
  }
};

// Where each label's baseline goes: right of its point, or else the nearest line above or below in the frame where it
// covers neither a label nor a point.
std::vector<double> label_heights(const std::vector<std::pair<double, double>>& at,
                                  const std::vector<PlotPoint>& points) {
  std::vector<double> heights(points.size());
  const auto width = [&](size_t i) { return 7.0 * static_cast<double>(points[i].label.size()) + 8; };
  for (size_t i = 0; i < points.size(); ++i) {
    const auto is_free = [&](double y) {
      if (y < kTop + kText || y > kHeight - kBottom - 2) return false;
      for (size_t other = 0; other < i; ++other) {
        const bool beside = at[i].first < at[other].first + width(other) && at[other].first < at[i].first + width(i);
        if (beside && std::fabs(y - heights[other]) < kText) return false;
      }
      for (size_t other = 0; other < at.size(); ++other) {
        const double right = at[other].first - at[i].first;
        if (other != i && right > 0 && right < width(i) + 4 && std::fabs(y - 4 - at[other].second) < kText - 3)
          return false;
      }
      return true;
    };
    heights[i] = at[i].second + 4;
    for (int step = 0; step < 40 && !is_free(heights[i]); ++step)
      heights[i] = at[i].second + 4 + (step % 2 == 0 ? 1 : -1) * (step / 2 + 1) * kText;
  }
  return heights;
}

} // namespace

std::string svg_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string svg_start(double width, double height, double title_at, const std::string& title) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{}\" y=\"30\" font-size=\"16\">{}</text>\n",
      width, height, title_at, svg_text(title));
}

std::string svg_labels(double left, double right, double top, double bottom, const std::string& x_label,
                       const std::string& y_label) {
  return fmt::format(
      "<text x=\"{0:.1f}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>\n"
      "<text x=\"22\" y=\"{3:.1f}\" text-anchor=\"middle\" transform=\"rotate(-90 22 {3:.1f})\">{4}</text>\n",
      (left + right) / 2, bottom + 48, svg_text(x_label), (top + bottom) / 2, svg_text(y_label));
}

std::string scatter_svg(const std::string& title, const std::string& x_label, const std::string& y_label,
                        const std::vector<PlotPoint>& points) {
  double x_lo = 0, x_hi = 0, y_lo = 0, y_hi = 0;
  for (const PlotPoint& p : points) {
    x_hi = std::max(x_hi, p.x);
    y_lo = std::min(y_lo, p.y);
    y_hi = std::max(y_hi, p.y);
  }
  const Axis x(x_lo, x_hi), y(y_lo, y_hi);
  const auto px = [&](double v) { return kLeft + x.share(v) * (kWidth - kLeft - kRight); };
  const auto py = [&](double v) { return kHeight - kBottom - y.share(v) * (kHeight - kTop - kBottom); };
  std::string out = svg_start(kWidth, kHeight, kLeft, title);
  const auto tick = [&](double x1, double y1, double x2, double y2) {
    out += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"#ddd\"/>\n", x1, y1, x2, y2);
  };
  for (double v = x.lo; v <= x.hi + x.step / 2; v += x.step) {
    tick(px(v), kTop, px(v), kHeight - kBottom);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", px(v),
                       kHeight - kBottom + 18, x.text(v));
  }
  for (double v = y.lo; v <= y.hi + y.step / 2; v += y.step) {
    tick(kLeft, py(v), kWidth - kRight, py(v));
    out +=
        fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kLeft - 8, py(v) + 4, y.text(v));
  }
  out += svg_labels(kLeft, kWidth - kRight, kTop, kHeight - kBottom, x_label, y_label);
  std::vector<std::pair<double, double>> at;
  for (const PlotPoint& p : points) at.emplace_back(px(p.x), py(p.y));
  const std::vector<double> heights = label_heights(at, points);
  for (size_t i = 0; i < points.size(); ++i) // a thin line to where a label had to move
    if (std::fabs(heights[i] - at[i].second - 4) > 1)
      out += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"#999\" stroke-width=\"0.5\"/>\n",
                         at[i].first, at[i].second, at[i].first + 7, heights[i] - 4);
  for (const auto& [x_at, y_at] : at)
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"#1f6feb\"/>\n", x_at, y_at);
  for (size_t i = 0; i < points.size(); ++i) // a white rim keeps lines off the letters
    out += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>\n",
        at[i].first + 8, heights[i], svg_text(points[i].label));
  return out + "</svg>\n";
}

} // namespace spearfish::cli

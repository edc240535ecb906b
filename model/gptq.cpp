#include "model/gptq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "model/error.hpp"
#include "model/parallel.hpp"

namespace spearfish::model {
namespace {

constexpr int64_t kRows = 64; // rows of W that are rounded at a time: one inner loop of the column recursion

// Values of a GGUF block; 0 for formats with scales of their own tensor.
int64_t block_values(spf_format format) {
  switch (format) {
    case SPF_FORMAT_Q4_0:
    case SPF_FORMAT_Q4_1:
    case SPF_FORMAT_Q5_0:
    case SPF_FORMAT_Q5_1:
    case SPF_FORMAT_Q8_0:
      return 32;
    case SPF_FORMAT_Q2_K:
    case SPF_FORMAT_Q3_K:
    case SPF_FORMAT_Q4_K:
    case SPF_FORMAT_Q5_K:
    case SPF_FORMAT_Q6_K:
      return 256;
    default:
      return 0;
  }
}

// --- the error as a triangle -----------------------------------------------------------------------------------------

// Columns in the order in which they are rounded.
std::vector<int64_t> column_order(const InputMoments& moments, bool by_importance) {
  std::vector<int64_t> order(static_cast<size_t>(moments.k()));
  std::iota(order.begin(), order.end(), 0);
  const auto diagonal = [&](int64_t c) { return moments.sums()[static_cast<size_t>(c * moments.k() + c)]; };
  if (by_importance)
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return diagonal(a) > diagonal(b); });
  return order;
}

// H + damping = R R^T, in the order given; kept as what the recursion reads.
struct Triangle {
  int64_t k;
  std::vector<float> feedback; // [c][i], i < c: R[i,c] / R[c,c]
  std::vector<double> weights; // R[c,c]^2: what an error left at column c costs

  Triangle(const InputMoments& moments, const std::vector<int64_t>& order, double damping)
      : k(moments.k()), feedback(static_cast<size_t>(k * k)), weights(static_cast<size_t>(k)) {
    const auto at = [&](int64_t i, int64_t j) { return static_cast<size_t>(i * k + j); };
    std::vector<double> r(static_cast<size_t>(k * k)); // [c][i]: R[i,c]
    double mean = 0;
    for (int64_t i = 0; i < k; ++i) mean += moments.sums()[at(i, i)] / static_cast<double>(k);
    if (!std::isfinite(mean))
      throw Error(SPF_INVALID_ARGUMENT, "gptq", "second moments of the inputs", "not finite", "finite inputs");
    // Inputs that are all 0 say nothing about any column: all count alike.
    const double added = mean > 0 ? std::max(damping, 1e-9) * mean : 1;
    for (int64_t c = 0; c < k; ++c)
      for (int64_t i = 0; i <= c; ++i)
        r[at(c, i)] =
            moments.sums()[at(order[static_cast<size_t>(c)], order[static_cast<size_t>(i)])] + (i == c ? added : 0);
    // From the last column to the first, each taking its share off those before it.
    for (int64_t c = k - 1; c >= 0; --c) {
      double* column = r.data() + c * k;
      const double root = std::sqrt(std::max(column[c], added * 1e-6));
      for (int64_t i = 0; i < c; ++i) column[i] /= root;
      column[c] = root;
      parallel_for((c + 63) / 64, [&](int64_t part) {
        for (int64_t j = part * 64; j < std::min(c, part * 64 + 64); ++j)
          for (int64_t i = 0; i <= j; ++i) r[at(j, i)] -= column[j] * column[i];
      });
      weights[static_cast<size_t>(c)] = root * root;
      for (int64_t i = 0; i < c; ++i) feedback[at(c, i)] = static_cast<float>(column[i] / root);
    }
  }
};

// --- grids -----------------------------------------------------------------------------------------------------------

// What a scale's steps can say: every value of a code type.
class Levels {
 public:
  explicit Levels(spf_scalar_type type) {
    spf_scalar_type_info info = {};
    info.struct_size = sizeof info;
    check(spf_scalar_type_describe(type, &info));
    lo_ = static_cast<float>(info.min_value);
    hi_ = static_cast<float>(info.max_value);
    integer_ = info.exponent_bits == 0;
    if (integer_) return;
    std::vector<uint8_t> codes(size_t{1} << info.bits);
    std::iota(codes.begin(), codes.end(), 0);
    std::vector<double> values(codes.size());
    check(spf_decode(type, codes.data(), static_cast<int64_t>(codes.size()), values.data()));
    for (const double v : values)
      if (std::isfinite(v)) values_.push_back(static_cast<float>(v));
    std::sort(values_.begin(), values_.end());
    values_.erase(std::unique(values_.begin(), values_.end()), values_.end());
  }
  float lo() const { return lo_; }
  float hi() const { return hi_; }
  bool integer() const { return integer_; }
  // The nearest level; the lower one of two that are as near.
  float nearest(float x) const {
    if (integer_) return std::clamp(std::nearbyint(x), lo_, hi_);
    const auto above = std::lower_bound(values_.begin(), values_.end(), x);
    if (above == values_.begin()) return values_.front();
    if (above == values_.end()) return values_.back();
    return *above - x < x - *(above - 1) ? *above : *(above - 1);
  }

 private:
  float lo_ = 0, hi_ = 0;
  bool integer_ = true;
  std::vector<float> values_; // ascending, of types that are not integers
};

// A scale and a zero point; `raw` as the scheme's type holds it, `step` what it multiplies with.
struct Cell {
  float raw = 0, step = 0, zero = 0;
};

class Grid {
 public:
  Grid(const QuantScheme& scheme, float global) : scheme_(scheme), levels_(scheme.weight), global_(global) {}

  Cell cell(float scale, float zero) const {
    const double wanted = scale;
    uint32_t code = 0;
    double rounded = 0;
    check(spf_encode(scheme_.scale, &wanted, 1, &code));
    check(spf_decode(scheme_.scale, &code, 1, &rounded));
    const auto raw = static_cast<float>(rounded);
    return {raw, raw * global_, zero};
  }
  // The value nearest to x that the cell can say.
  float round(float x, const Cell& cell) const {
    if (cell.step == 0) return 0;
    return (levels_.nearest(x / cell.step + cell.zero) - cell.zero) * cell.step;
  }

  // The cheapest of a list of ranges for values x[i * stride], each weighed by costs[i].
  Cell fit(const float* x, int64_t stride, const double* costs, int64_t count) const {
    float lo = 0, hi = 0;
    for (int64_t i = 0; i < count; ++i) {
      lo = std::min(lo, x[i * stride]);
      hi = std::max(hi, x[i * stride]);
    }
    Cell best;
    double best_cost = -1;
    const auto attempt = [&](const Cell& c) {
      if (!(c.step > 0)) return;
      double cost = 0;
      for (int64_t i = 0; i < count && (best_cost < 0 || cost < best_cost); ++i) {
        const double miss = static_cast<double>(x[i * stride]) - static_cast<double>(round(x[i * stride], c));
        cost += costs[i] * miss * miss;
      }
      if (best_cost >= 0 && cost >= best_cost) return;
      best = c;
      best_cost = cost;
    };
    const float top = levels_.hi();
    if (scheme_.zero == SPF_ZERO_INTEGER) {
      for (int shrink = 0; shrink <= kShrinks; ++shrink) {
        const float ratio = 1.0f - kShrink * static_cast<float>(shrink), scale = ratio * (hi - lo) / top / global_;
        const Cell c = cell(scale, 0);
        if (!(c.step > 0)) continue;
        const float centre = std::clamp(std::nearbyint(-lo * ratio / c.step), 0.0f, top);
        for (const float zero : {centre - 1, centre, centre + 1})
          if (zero >= 0 && zero <= top) attempt(cell(scale, zero));
      }
    } else if (scheme_.scale == SPF_E8M0) {
      const int exponent = std::ilogb(std::max(std::max(-lo, hi) / top, 0x1p-120f));
      for (int e = exponent + 1; e >= exponent - 1; --e) attempt(cell(std::ldexp(1.0f, e), 0));
    } else {
      for (int shrink = 0; shrink <= kShrinks; ++shrink)
        attempt(cell((1.0f - kShrink * static_cast<float>(shrink)) * std::max(-lo, hi) / top / global_, 0));
    }
    if (best_cost < 0) best = cell(0, 0);
    return best;
  }

  // Better by what scale the grid has: floats keep their precision whatever the range is.
  bool worth_fitting() const { return scheme_.weight != SPF_E4M3; }
  Cell extremes(float lo, float hi) const { return cell(std::max(-lo, hi) / levels_.hi() / global_, 0); }

 private:
  static constexpr int kShrinks = 24;
  static constexpr float kShrink = 0.02f;
  QuantScheme scheme_;
  Levels levels_;
  float global_;
};

// --- columns one after another ---------------------------------------------------------------------------------------

// Up to kRows rows of W while they are rounded: arrays [K][kRows], columns in the order of the triangle.
struct Strip {
  int64_t k, rows, first;
  std::vector<float> w, error, target; // error = w - rounded

  Strip(int64_t n, int64_t k_, int64_t first_row, const float* weight, const std::vector<int64_t>& order)
      : k(k_),
        rows(std::min(kRows, n - first_row)),
        first(first_row),
        w(static_cast<size_t>(k * kRows)),
        error(w.size()),
        target(w.size()) {
    for (int64_t c = 0; c < k; ++c)
      for (int64_t r = 0; r < rows; ++r)
        w[static_cast<size_t>(c * kRows + r)] = weight[(first + r) * k + order[static_cast<size_t>(c)]];
  }
  float* column(std::vector<float>& of, int64_t c) const { return of.data() + c * kRows; }

  // target_c = w_c + what the errors of columns [begin, c) ask for, on top of what is in `base` (or nothing).
  void aim(const Triangle& t, int64_t begin, int64_t c, const float* base) {
    float sum[kRows];
    for (int64_t r = 0; r < kRows; ++r) sum[r] = base != nullptr ? base[r] : 0.0f;
    for (int64_t i = begin; i < c; ++i) {
      const float f = t.feedback[static_cast<size_t>(c * k + i)];
      const float* e = column(error, i);
      for (int64_t r = 0; r < kRows; ++r) sum[r] += f * e[r];
    }
    const float* from = column(w, c);
    float* to = column(target, c);
    for (int64_t r = 0; r < kRows; ++r) to[r] = from[r] + sum[r];
  }
};

// Columns [begin, end): what the columns before ask for (base, [end - begin][kRows]) and, in strip.target, the values
// that they would best have if they could have any.
void aim_group(Strip& s, const Triangle& t, int64_t begin, int64_t end, std::vector<float>& base) {
  base.assign(static_cast<size_t>((end - begin) * kRows), 0.0f);
  for (int64_t c = begin; c < end; ++c) {
    float* at = base.data() + (c - begin) * kRows;
    for (int64_t i = 0; i < begin; ++i) {
      const float f = t.feedback[static_cast<size_t>(c * s.k + i)];
      const float* e = s.column(s.error, i);
      for (int64_t r = 0; r < kRows; ++r) at[r] += f * e[r];
    }
    s.aim(t, begin, c, at);
    const float *target = s.column(s.target, c), *from = s.column(s.w, c);
    float* e = s.column(s.error, c);
    for (int64_t r = 0; r < kRows; ++r) e[r] = from[r] - target[r];
  }
}

// The rounding of one weight with scales of their own tensor.
class ColumnRounder {
 public:
  ColumnRounder(const QuantScheme& scheme, int64_t n, int64_t k, const float* w, const InputMoments& moments,
                const GptqOptions& options, float global)
      : scheme_(scheme),
        n_(n),
        k_(k),
        w_(w),
        moments_(moments),
        options_(options),
        grid_(scheme, global),
        order_(column_order(moments, options.by_importance)),
        triangle_(moments, order_, options.damping),
        group_(scheme.group_k > 0 ? scheme.group_k : k),
        groups_((k + group_ - 1) / group_),
        cell_rows_(scheme.group_n == 1  ? n
                   : scheme.group_n < 0 ? 1
                                        : (n + scheme.group_n - 1) / scheme.group_n),
        cells_(static_cast<size_t>(cell_rows_ * groups_)),
        rounded_(static_cast<size_t>(n * k)) {}

  QuantizedWeight run(float global) {
    const bool own_scales = scheme_.group_n == 1 && grid_.worth_fitting();
    if (!own_scales)
      take_extremes();
    else if (options_.by_importance)
      fit_beforehand();
    const bool fit = own_scales && !options_.by_importance;
    parallel_for((n_ + kRows - 1) / kRows, [&](int64_t i) {
      Strip strip(n_, k_, i * kRows, w_, order_);
      round(strip, fit);
      if (options_.refinements > 0) refine(strip, own_scales);
      for (int64_t c = 0; c < k_; ++c)
        for (int64_t r = 0; r < strip.rows; ++r) {
          const auto at = static_cast<size_t>(c * kRows + r);
          rounded_[static_cast<size_t>((strip.first + r) * k_ + order_[static_cast<size_t>(c)])] =
              strip.w[at] - strip.error[at];
        }
    });
    std::vector<float> scales;
    std::vector<int32_t> zeros;
    for (const Cell& c : cells_) {
      scales.push_back(c.raw);
      zeros.push_back(static_cast<int32_t>(c.zero));
    }
    return QuantizedWeight::quantize(scheme_, n_, k_, rounded_.data(), scales.data(), zeros.data(), global);
  }

 private:
  int64_t group_of(int64_t c) const { return order_[static_cast<size_t>(c)] / group_; }
  Cell& cell(int64_t row, int64_t g) {
    const int64_t at = scheme_.group_n < 0 ? 0 : row / scheme_.group_n;
    return cells_[static_cast<size_t>(at * groups_ + g)];
  }

  void take_extremes() {
    const int64_t rows = scheme_.group_n < 0 ? n_ : scheme_.group_n;
    for (int64_t row = 0; row < n_; row += rows)
      for (int64_t g = 0; g < groups_; ++g) {
        float lo = 0, hi = 0;
        for (int64_t r = row; r < std::min(n_, row + rows); ++r)
          for (int64_t c = g * group_; c < std::min(k_, (g + 1) * group_); ++c) {
            lo = std::min(lo, w_[r * k_ + c]);
            hi = std::max(hi, w_[r * k_ + c]);
          }
        cell(row, g) = grid_.extremes(lo, hi);
      }
  }

  void fit_beforehand() {
    std::vector<double> costs(static_cast<size_t>(k_));
    for (int64_t c = 0; c < k_; ++c)
      costs[static_cast<size_t>(order_[static_cast<size_t>(c)])] = triangle_.weights[static_cast<size_t>(c)];
    parallel_for(n_, [&](int64_t row) {
      for (int64_t g = 0; g < groups_; ++g)
        cell(row, g) =
            grid_.fit(w_ + row * k_ + g * group_, 1, costs.data() + g * group_, std::min(group_, k_ - g * group_));
    });
  }

  void settle(Strip& s, int64_t c) {
    const float *target = s.column(s.target, c), *from = s.column(s.w, c);
    float* e = s.column(s.error, c);
    for (int64_t r = 0; r < s.rows; ++r) e[r] = from[r] - grid_.round(target[r], cell(s.first + r, group_of(c)));
  }

  void round(Strip& s, bool fit) {
    if (!fit) {
      for (int64_t c = 0; c < k_; ++c) {
        s.aim(triangle_, 0, c, nullptr);
        settle(s, c);
      }
      return;
    }
    std::vector<float> base;
    for (int64_t g = 0; g < groups_; ++g) {
      const int64_t begin = g * group_, end = std::min(k_, begin + group_);
      aim_group(s, triangle_, begin, end, base);
      for (int64_t r = 0; r < s.rows; ++r)
        cell(s.first + r, g) =
            grid_.fit(s.column(s.target, begin) + r, kRows, triangle_.weights.data() + begin, end - begin);
      for (int64_t c = begin; c < end; ++c) {
        s.aim(triangle_, begin, c, base.data() + (c - begin) * kRows);
        settle(s, c);
      }
    }
  }

  // Lowers e H e^T by changing one code, or one scale, at a time. `slopes`: e H.
  void refine(Strip& s, bool own_scales) {
    std::vector<float> slopes(s.error.size(), 0.0f);
    const auto h = [&](int64_t i, int64_t j) {
      return static_cast<float>(
          moments_.sums()[static_cast<size_t>(order_[static_cast<size_t>(i)] * k_ + order_[static_cast<size_t>(j)])]);
    };
    const auto add = [&](int64_t i, const float* change) {
      for (int64_t j = 0; j < k_; ++j) {
        const float f = h(i, j);
        float* to = s.column(slopes, j);
        for (int64_t r = 0; r < kRows; ++r) to[r] += f * change[r];
      }
    };
    for (int64_t i = 0; i < k_; ++i) add(i, s.column(s.error, i));
    for (int pass = 0; pass < options_.refinements; ++pass) {
      bool changed = false;
      for (int64_t c = 0; c < k_; ++c) {
        const float curvature = h(c, c);
        if (!(curvature > 0)) continue;
        float change[kRows] = {};
        bool any = false;
        const float *from = s.column(s.w, c), *slope = s.column(slopes, c);
        float* e = s.column(s.error, c);
        for (int64_t r = 0; r < s.rows; ++r) {
          const float value = from[r] - e[r];
          const float better = grid_.round(value + slope[r] / curvature, cell(s.first + r, group_of(c)));
          if (better == value) continue;
          change[r] = value - better;
          // Rounding errors of the slopes must not make this go round in circles.
          if (2 * slope[r] * change[r] + curvature * change[r] * change[r] >= 0) {
            change[r] = 0;
            continue;
          }
          e[r] = from[r] - better;
          any = true;
        }
        if (any) add(c, change);
        changed |= any;
      }
      if (own_scales) changed |= refit(s, slopes, h, add);
      if (!changed) return;
    }
  }

  // Each scale moved to where, with its codes as they are, the error is least.
  template <class H, class Add>
  bool refit(Strip& s, std::vector<float>& slopes, const H& h, const Add& add) {
    bool changed = false;
    std::vector<int64_t> columns;
    for (int64_t g = 0; g < groups_; ++g) {
      columns.clear();
      for (int64_t c = 0; c < k_; ++c)
        if (group_of(c) == g) columns.push_back(c);
      double slope[kRows] = {}, curvature[kRows] = {};
      for (const int64_t c : columns) {
        float sum[kRows] = {};
        for (const int64_t i : columns) {
          const float f = h(i, c);
          const float *from = s.column(s.w, i), *e = s.column(s.error, i);
          for (int64_t r = 0; r < kRows; ++r) sum[r] += f * (from[r] - e[r]);
        }
        const float *from = s.column(s.w, c), *e = s.column(s.error, c), *slope_c = s.column(slopes, c);
        for (int64_t r = 0; r < kRows; ++r) {
          slope[r] += static_cast<double>(from[r] - e[r]) * static_cast<double>(slope_c[r]);
          curvature[r] += static_cast<double>(from[r] - e[r]) * static_cast<double>(sum[r]);
        }
      }
      float factor[kRows] = {}; // by which the group's values grow, less 1
      bool any = false;
      for (int64_t r = 0; r < s.rows; ++r) {
        Cell& old = cell(s.first + r, g);
        if (!(curvature[r] > 0) || old.step == 0) continue;
        const Cell next = grid_.cell(static_cast<float>(old.raw * (1 + slope[r] / curvature[r])), old.zero);
        const double growth = static_cast<double>(next.step) / static_cast<double>(old.step) - 1;
        if (!(next.step > 0) || growth == 0 || growth * (growth * curvature[r] - 2 * slope[r]) >= 0) continue;
        factor[r] = static_cast<float>(growth);
        old = next;
        any = true;
      }
      if (!any) continue;
      changed = true;
      for (const int64_t c : columns) {
        float change[kRows] = {};
        const float* from = s.column(s.w, c);
        float* e = s.column(s.error, c);
        for (int64_t r = 0; r < s.rows; ++r) {
          if (factor[r] == 0) continue;
          // On the new grid exactly, not only nearly.
          const float value = grid_.round((from[r] - e[r]) * (1 + factor[r]), cell(s.first + r, g));
          change[r] = from[r] - value - e[r];
          e[r] = from[r] - value;
        }
        add(c, change);
      }
    }
    return changed;
  }

  QuantScheme scheme_;
  int64_t n_, k_;
  const float* w_;
  const InputMoments& moments_;
  GptqOptions options_;
  Grid grid_;
  std::vector<int64_t> order_;
  Triangle triangle_;
  int64_t group_, groups_, cell_rows_;
  std::vector<Cell> cells_;
  std::vector<float> rounded_;
};

// --- blocks ----------------------------------------------------------------------------------------------------------

RoundedWeight round_blocks(const QuantScheme& scheme, int64_t n, int64_t k, const float* w, const InputMoments& moments,
                           const GptqOptions& options) {
  const std::vector<int64_t> order = column_order(moments, false);
  const Triangle triangle(moments, order, options.damping);
  const int64_t block = block_values(scheme.format);
  Buffer bytes;
  spf_quantized_weight whole = {};
  {
    const QuantizedWeight shape = QuantizedWeight::quantize(scheme, n, k, w);
    whole = *shape.get();
    bytes = Buffer(static_cast<size_t>(whole.codes.shape[0] * whole.codes.shape[1]));
  }
  whole.codes.data = bytes.data();
  const int64_t row_bytes = whole.codes.shape[1];
  parallel_for((n + kRows - 1) / kRows, [&](int64_t i) {
    Strip s(n, k, i * kRows, w, order);
    std::vector<float> base, values;
    for (int64_t begin = 0; begin < k; begin += block) {
      const int64_t end = std::min(k, begin + block), count = end - begin;
      aim_group(s, triangle, begin, end, base);
      values.resize(static_cast<size_t>(s.rows * count));
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t c = 0; c < count; ++c)
          values[static_cast<size_t>(r * count + c)] = s.column(s.target, begin + c)[r];
      const QuantizedWeight part = QuantizedWeight::quantize(scheme, s.rows, count, values.data());
      const spf_tensor& codes = part.get()->codes;
      for (int64_t r = 0; r < s.rows; ++r)
        std::memcpy(static_cast<std::byte*>(bytes.data()) + (s.first + r) * row_bytes + begin / block * codes.shape[1],
                    static_cast<const std::byte*>(codes.data) + r * codes.shape[1],
                    static_cast<size_t>(codes.shape[1]));
      const std::vector<float> rounded = part.dequantize();
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t c = 0; c < count; ++c)
          s.column(s.error, begin + c)[r] = s.column(s.w, begin + c)[r] - rounded[static_cast<size_t>(r * count + c)];
    }
  });
  return {std::move(bytes), QuantizedWeight::borrow(whole)};
}

} // namespace

RoundedWeight gptq(const QuantScheme& scheme, int64_t n, int64_t k, const float* w, const InputMoments& moments,
                   const GptqOptions& options, float global_scale) {
  if (moments.k() != k)
    throw Error(SPF_INVALID_ARGUMENT, "gptq", "second moments of the inputs", std::to_string(moments.k()) + " columns",
                std::to_string(k));
  if (block_values(scheme.format) > 0) return round_blocks(scheme, n, k, w, moments, options);
  float global = 1;
  if (scheme.has_global_scale) {
    global = global_scale;
    if (!(global > 0)) {
      const QuantizedWeight usual = QuantizedWeight::quantize(scheme, n, k, w);
      std::memcpy(&global, usual.get()->global_scale.data, sizeof global);
    }
  }
  return RoundedWeight(ColumnRounder(scheme, n, k, w, moments, options, global).run(global));
}

} // namespace spearfish::model

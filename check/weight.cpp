#include "check/weight.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "check/problem.hpp"
#include "check/status.hpp"

namespace spf::check {
namespace {

template <class T>
T* aligned(std::vector<std::byte>& memory, size_t alignment) {
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<T*>((address + alignment - 1) / alignment * alignment);
}

} // namespace

Weight::Weight(const std::string& scheme, int64_t n, int64_t k, bool act_order, uint64_t seed)
    : n_(n), k_(k), seed_(seed) {
  scheme_.struct_size = sizeof scheme_;
  if (spf_quant_scheme_by_name(scheme.c_str(), &scheme_) != SPF_OK) throw UsageError(last_error().message);
  scheme_.has_g_idx = act_order ? 1 : 0;
}

spf_packed_weight Weight::header(spf_device device) const {
  spf_packed_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = scheme_;
  w.n = w.padded_n = n_;
  w.k = w.padded_k = k_;
  w.device = device;
  return w;
}

const spf_quantized_weight& Weight::quantized() {
  if (built_) return quantized_;
  Random random(seed_);
  std::vector<float> dense(static_cast<size_t>(n_ * k_));
  for (float& value : dense) value = static_cast<float>(0.1 * random.normal());
  // Quantizers know no act order: the group of a column is what g_idx says, whatever it was when the scales were
  // chosen.
  spf_quant_scheme plain = scheme_;
  plain.has_g_idx = 0;
  size_t bytes = 0;
  expect_ok(spf_quantize_size(&plain, n_, k_, &bytes), "spf_quantize_size");
  memory_.resize(bytes + 64);
  quantized_.struct_size = sizeof quantized_;
  expect_ok(spf_quantize(&plain, n_, k_, dense.data(), aligned<std::byte>(memory_, 64), bytes, &quantized_),
            "spf_quantize");
  if (scheme_.has_g_idx != 0) {
    for (int64_t i = 0; i < k_; ++i) g_idx_.push_back(static_cast<int32_t>(i / scheme_.group_k));
    for (int64_t i = k_ - 1; i > 0; --i)
      std::swap(g_idx_[static_cast<size_t>(i)], g_idx_[static_cast<size_t>(random.below(i + 1))]);
    quantized_.g_idx.struct_size = sizeof quantized_.g_idx;
    expect_ok(spf_tensor_init(&quantized_.g_idx, g_idx_.data(), SPF_I32, 1, &k_, {SPF_CPU, 0}), "spf_tensor_init");
    quantized_.scheme.has_g_idx = 1;
  }
  built_ = true;
  return quantized_;
}

const spf_packed_weight* Weight::find(const std::string& layout, Memory& memory) const {
  for (const Packed& p : packed_)
    if (layout == p.view.layout && p.view.device.kind == memory.device().kind &&
        p.view.device.index == memory.device().index)
      return &p.view;
  return nullptr;
}

// The packed bytes on the host, and the header that belongs to them; view->data is where they start.
std::vector<std::byte> Weight::image(const std::string& layout, spf_packed_weight* view) {
  const spf_quantized_weight& weight = quantized();
  size_t bytes = 0;
  expect_ok(spf_pack_size(&weight.scheme, layout.c_str(), n_, k_, &bytes), "spf_pack_size");
  std::vector<std::byte> host(bytes + 256);
  *view = {};
  view->struct_size = sizeof *view;
  expect_ok(spf_pack(&weight, layout.c_str(), aligned<std::byte>(host, 256), bytes, view), "spf_pack");
  return host;
}

const spf_packed_weight& Weight::keep(const std::byte* image, const spf_packed_weight& view, Memory& memory) {
  Packed packed{memory.allocate(static_cast<int64_t>(view.bytes)), view};
  memory.write(packed.block.data(), image, static_cast<int64_t>(view.bytes));
  packed.view.data = packed.block.data();
  packed.view.device = memory.device();
  packed_.push_back(std::move(packed));
  return packed_.back().view;
}

const spf_packed_weight& Weight::packed(const std::string& layout, Memory& memory) {
  if (const spf_packed_weight* found = find(layout, memory)) return *found;
  spf_packed_weight view;
  const std::vector<std::byte> host = image(layout, &view);
  return keep(static_cast<const std::byte*>(view.data), view, memory);
}

const spf_packed_weight& Weight::packed_repeated(const std::string& layout, Memory& memory) {
  if (const spf_packed_weight* found = find(layout, memory)) return *found;
  // Sections are aligned to 256 bytes, so where they start grows evenly with N in steps of 512 rows.
  constexpr int64_t kRows = 512;
  if (n_ % kRows != 0 || n_ < 4 * kRows) return packed(layout, memory);
  Weight one(*this, kRows), two(*this, 2 * kRows);
  spf_packed_weight small, next, view;
  const std::vector<std::byte> host = one.image(layout, &small), other = two.image(layout, &next);
  const auto at_n = [&](size_t first, size_t second) {
    return first + (second - first) * static_cast<size_t>(n_ / kRows - 1);
  };
  view = small;
  view.n = n_;
  view.padded_n = n_;
  view.bytes = at_n(small.bytes, next.bytes);
  size_t bytes = 0;
  expect_ok(spf_pack_size(&scheme_, layout.c_str(), n_, k_, &bytes), "spf_pack_size");
  if (bytes != view.bytes || small.padded_n != kRows) return packed(layout, memory);
  std::vector<std::pair<size_t, size_t>> starts = {{0, 0}}; // of sections: in the small image, in the large one
  for (auto offset : {&spf_packed_weight::scales_offset, &spf_packed_weight::zeros_offset,
                      &spf_packed_weight::g_idx_offset, &spf_packed_weight::global_offset}) {
    view.*offset = at_n(small.*offset, next.*offset);
    if (small.*offset != 0) starts.emplace_back(small.*offset, view.*offset);
  }
  std::sort(starts.begin(), starts.end());
  starts.emplace_back(small.bytes, view.bytes);
  const auto* from = static_cast<const std::byte*>(small.data);
  std::vector<std::byte> large(view.bytes);
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    const size_t length = starts[i + 1].first - starts[i].first, end = starts[i + 1].second;
    for (size_t at = starts[i].second; at < end; at += length)
      std::copy_n(from + starts[i].first, std::min(length, end - at), large.begin() + static_cast<int64_t>(at));
  }
  return keep(large.data(), view, memory);
}

const std::vector<double>& Weight::row_norms() {
  if (!norms_.empty() || n_ == 0) return norms_;
  std::vector<float> dense(static_cast<size_t>(n_ * k_));
  expect_ok(spf_dequantize(&quantized(), dense.data()), "spf_dequantize");
  for (int64_t row = 0; row < n_; ++row) {
    double squares = 0;
    for (int64_t i = 0; i < k_; ++i) {
      const double value = dense[static_cast<size_t>(row * k_ + i)];
      squares += value * value;
    }
    norms_.push_back(std::sqrt(squares));
  }
  return norms_;
}

} // namespace spf::check

#include "check/buffer.hpp"

#include <algorithm>
#include <cstring>

#include "check/status.hpp"

namespace spf::check {
namespace {

constexpr int64_t kGuard = 256;                 // poisoned bytes on either side of a view
constexpr int64_t kMirrored = int64_t{1} << 28; // storage up to this size is mirrored whole

} // namespace

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> stride(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    stride[i] = step;
    step *= std::max<int64_t>(shape[i], 1);
  }
  return stride;
}

Buffer::Buffer(Memory& memory, const OperandShape& operand, const Layout& layout) : memory_(memory) {
  const std::vector<int64_t>& shape = operand.shape;
  expect_ok(
      spf_tensor_init(&view_, nullptr, operand.type, static_cast<int32_t>(shape.size()), shape.data(), memory.device()),
      "spf_tensor_init");
  const std::vector<int64_t> stride = layout.stride.empty() ? contiguous_strides(shape) : layout.stride;
  size_ = type_bytes(operand.type);
  int64_t last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    view_.stride[i] = stride[i];
    last += (shape[i] - 1) * stride[i];
  }
  extent_ = operand.elements() == 0 ? 0 : (last + 1) * size_;
  before_ = kGuard + (layout.flush_end ? 0 : layout.misalign);
  block_ = memory.allocate(before_ + extent_ + (layout.flush_end ? 0 : kGuard),
                           layout.flush_end ? Edge::kEnd : Edge::kStart);
  view_.data = block_.data() + before_;
  add_segments();
}

template <class Body>
void Buffer::each_run(Body&& body) const {
  int64_t count = 1;
  for (int i = 0; i < view_.rank; ++i) count *= view_.shape[i];
  if (count == 0) return;
  const bool rows = view_.rank > 0 && (view_.stride[view_.rank - 1] == 1 || view_.shape[view_.rank - 1] == 1);
  const int64_t run = rows ? view_.shape[view_.rank - 1] : 1;
  const int outer = rows ? view_.rank - 1 : view_.rank;
  for (int64_t at = 0; at < count; at += run) {
    int64_t rest = at / run, offset = 0;
    for (int i = outer - 1; i >= 0; --i) {
      offset += rest % view_.shape[i] * view_.stride[i];
      rest /= view_.shape[i];
    }
    body(offset * size_, at, run);
  }
}

void Buffer::add_segments() {
  const int64_t begin = -before_, end = block_.bytes() - before_;
  if (block_.bytes() <= kMirrored) {
    segments_.push_back({begin, std::vector<std::byte>(static_cast<size_t>(block_.bytes()))});
    return;
  }
  std::vector<std::pair<int64_t, int64_t>> ranges;
  each_run([&](int64_t offset, int64_t, int64_t run) {
    ranges.emplace_back(std::max(begin, offset - kGuard), std::min(end, offset + run * size_ + kGuard));
  });
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 0; i < ranges.size();) {
    auto [from, to] = ranges[i];
    for (++i; i < ranges.size() && ranges[i].first <= to; ++i) to = std::max(to, ranges[i].second);
    segments_.push_back({from, std::vector<std::byte>(static_cast<size_t>(to - from))});
  }
}

template <class Segments>
auto* Buffer::mirror(Segments& segments, int64_t offset) {
  size_t i = segments.size() - 1;
  while (segments[i].begin > offset) --i;
  return segments[i].image.data() + (offset - segments[i].begin);
}

void Buffer::put(const Codes& codes, uint8_t poison) {
  for (Segment& segment : segments_) std::fill(segment.image.begin(), segment.image.end(), std::byte{poison});
  if (!codes.empty())
    each_run([&](int64_t offset, int64_t index, int64_t run) {
      std::memcpy(mirror(segments_, offset), codes.data() + index * size_, static_cast<size_t>(run * size_));
    });
  for (const Segment& segment : segments_)
    memory_.write(block_.data() + before_ + segment.begin, segment.image.data(),
                  static_cast<int64_t>(segment.image.size()));
  damage_.clear();
}

Codes Buffer::held() const {
  Codes codes;
  each_run([&](int64_t offset, int64_t, int64_t run) {
    const std::byte* from = mirror(segments_, offset);
    codes.insert(codes.end(), from, from + run * size_);
  });
  return codes;
}

Codes Buffer::get() {
  std::vector<Segment> now = segments_;
  for (Segment& segment : now)
    memory_.read(segment.image.data(), block_.data() + before_ + segment.begin,
                 static_cast<int64_t>(segment.image.size()));
  Codes codes;
  each_run([&](int64_t offset, int64_t, int64_t run) {
    const std::byte* from = mirror(now, offset);
    codes.insert(codes.end(), from, from + run * size_);
    // What is inside the view may change; level it, so that what is left to differ lies outside.
    std::memcpy(mirror(segments_, offset), from, static_cast<size_t>(run * size_));
  });
  for (size_t i = 0; i < now.size() && damage_.empty(); ++i) {
    const auto mine = std::mismatch(segments_[i].image.begin(), segments_[i].image.end(), now[i].image.begin()).first;
    if (mine == segments_[i].image.end()) continue;
    const int64_t offset = segments_[i].begin + (mine - segments_[i].image.begin());
    damage_ = "the byte " + std::to_string(offset) + " from the view's first one was overwritten; the view spans " +
              std::to_string(extent_) + " bytes";
  }
  return codes;
}

} // namespace spf::check

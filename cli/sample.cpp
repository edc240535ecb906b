#include "sample.hpp"

#include <cmath>
#include <cstring>

namespace spearfish::cli {
namespace {

// splitmix64: one multiply-xor-shift hash a number, so that value i needs no history.
uint64_t hash(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

size_t element_bytes(ScalarType type) {
  const int bits = describe(type).bits;
  return static_cast<size_t>(bits <= 8 ? 1 : bits / 8);
}

size_t count_of(const Shape& shape) {
  size_t count = 1;
  for (int64_t extent : shape) count *= static_cast<size_t>(extent);
  return count;
}

} // namespace

std::vector<float> normal_values(size_t count, double deviation, uint64_t seed) {
  std::vector<float> out(count);
  // The sum of four uniform 16-bit numbers has a deviation of 2^16 / sqrt(3).
  const double scale = deviation * std::sqrt(3.0) / 65536.0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = hash(seed ^ hash(i));
    const auto sum =
        static_cast<int64_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    out[i] = static_cast<float>(static_cast<double>(sum - 2 * 65535) * scale);
  }
  return out;
}

OwnedTensor::OwnedTensor(ScalarType type, const Shape& shape)
    : type_(type), count_(count_of(shape)), memory_(count_ * element_bytes(type)), view_(memory_.data(), type, shape) {
  std::memset(memory_.data(), 0, memory_.size());
}

OwnedTensor::OwnedTensor(ScalarType type, const Shape& shape, const std::vector<float>& values)
    : OwnedTensor(type, shape) {
  const std::vector<double> wide(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count_));
  check(spf_encode(type, wide.data(), static_cast<int64_t>(count_), memory_.data()));
}

std::vector<double> OwnedTensor::values() const {
  std::vector<double> out(count_);
  check(spf_decode(type_, memory_.data(), static_cast<int64_t>(count_), out.data()));
  return out;
}

} // namespace spearfish::cli

// Generated data for the commands that run kernels on the CPU: always the same numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spearfish/spearfish.hpp"

namespace spearfish::cli {

// `count` values, roughly normal with the given deviation; the same for the same seed.
std::vector<float> normal_values(size_t count, double deviation, uint64_t seed);

// A host tensor that owns its memory.
class OwnedTensor {
 public:
  // Contiguous, zeros.
  OwnedTensor(ScalarType type, const Shape& shape);
  // Holds `values`, each rounded to the type.
  OwnedTensor(ScalarType type, const Shape& shape, const std::vector<float>& values);

  const Tensor& view() const { return view_; }
  std::vector<double> values() const; // decoded

 private:
  ScalarType type_;
  size_t count_;
  Buffer memory_;
  Tensor view_;
};

} // namespace spearfish::cli

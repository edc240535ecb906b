// Problems of `linear` for its tests: operands, weights in the layout that a kernel reads, every kernel that this
// machine can run (AMX on emulated tiles where it lacks them), and the expected result from fp64 loops of the test's
// own.
#pragma once

#include <string>
#include <vector>

#include "core/call.hpp"
#include "plan/table.hpp"
#include "spearfish/ops/linear.h"
#include "support/weights.hpp"

namespace linear_test {

struct Kernel {
  std::string name;
  spf::PolicyFn policy;
  spf::LaunchFn launch;
  std::string layout;
  spf::Activation activation;

  bool rounds_to_8_bits() const { return activation == spf::Activation::kQuantizedS8; }
};

// In manifest order, the reference last. AMX rows run on emulated tiles where the processor has none.
const std::vector<Kernel>& kernels();
const Kernel& kernel(const std::string& name);

// How far an activation of a type may be off once the kernel has prepared it, as a part of its row's largest.
double activation_error(const Kernel& kernel, spf_scalar_type x);

// A matrix with rows `pitch` elements apart, poisoned outside its columns.
class Matrix {
 public:
  Matrix(spf_scalar_type type, int64_t rows, int64_t columns, int64_t gap = 0);
  static Matrix normal(spf_scalar_type type, int64_t rows, int64_t columns, unsigned seed, int64_t gap = 0);

  float at(int64_t row, int64_t column) const;
  void set(int64_t row, int64_t column, float value);
  spf_tensor view() const;
  spf_tensor vector() const; // of a one-row matrix
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  // Bytes of the elements alone, row after row.
  std::vector<uint8_t> elements() const;
  // True if nothing but elements was written.
  bool gaps_untouched() const;

  spf_scalar_type type;
  int64_t rows, columns, pitch;

 private:
  int64_t size() const { return type == SPF_F32 ? 4 : 2; }
  std::vector<uint8_t> bytes_;
};

// A weight: its exact values, and its packed forms, made when they are asked for.
class Weight {
 public:
  Weight(const spf_quant_scheme& scheme, int64_t n, int64_t k, unsigned seed = 1);

  const spf_packed_weight& packed(const std::string& layout);
  float at(int64_t row, int64_t column) const { return values_[static_cast<size_t>(row * k + column)]; }
  double norm(int64_t row) const { return norms_[static_cast<size_t>(row)]; }

  spf_quant_scheme scheme;
  int64_t n, k;

 private:
  support::OwnedWeight owned_;
  std::vector<float> values_;
  std::vector<double> norms_;
  std::vector<support::PackedWeight> packed_;
};

// "" if `launch` ran as its policy's one instance, in a workspace that was poisoned before and whose guard bytes are
// checked after; else the reason of the refusal. A launch that fails fails the test.
std::string run_guarded(const spf::Call& call, spf::PolicyFn policy, spf::LaunchFn launch, int threads);

// "" if the kernel ran (workspace poisoned before, its guard bytes checked after), else the reason of its refusal.
// A failing launch fails the test.
std::string run(const Kernel& kernel, Weight& weight, const Matrix& x, const Matrix* bias, Matrix& out,
                int threads = 2);

// Fails the test where out is further from the exact product than the stated bound; returns the worst ratio to it.
double expect_close(const Kernel& kernel, const Weight& weight, const Matrix& x, const Matrix* bias, const Matrix& out,
                    const std::string& what);

// A scheme of support::all_schemes().
spf_quant_scheme scheme_named(const std::string& name);

} // namespace linear_test

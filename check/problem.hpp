// A problem: an op with types and extents for every operand, and the logical values that go into it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "check/case.hpp"
#include "check/op.hpp"

namespace spf::check {

// Codes of a tensor in C order, without gaps, one unpacked code per storage element.
using Codes = std::vector<std::byte>;

struct OperandShape {
  bool present = false;
  spf_scalar_type type = SPF_TYPE_NONE;
  std::vector<int64_t> shape;

  int64_t elements() const;
};

class Weight; // check/weight.hpp

struct Problem {
  const Op* op = nullptr;
  std::vector<OperandShape> operands;
  std::vector<double> params;
  std::vector<int64_t> leading;
  std::map<std::string, int64_t> dims;
  std::shared_ptr<Weight> weight; // ops with a packed weight only
  bool allow_activation_8bit = false;
  bool bench = false; // data as a bench wants them
  std::string name;   // the case's

  int64_t rows() const;                            // product of the leading dimensions
  int64_t extent(const std::string& symbol) const; // "rows" is rows(); 0 for a symbol that the case does not set
  int64_t reduction() const;                       // length of the longest sum that an output may hold
  int64_t elements() const;                        // of all operands and the weight
  double multiplications() const;                  // elements(), or M N K for ops with a packed weight
  uint64_t seed() const;                           // from op and name

  // The same problem with other leading dimensions; shares the weight.
  Problem with_leading(const std::vector<int64_t>& extents) const;
};

// Throws UsageError where the case does not fit the op's schema.
Problem make_problem(const Case& c);

// What kind of numbers an operand is filled with.
enum class Pattern {
  kPlain,   // around 1, both signs
  kMixed,   // plain numbers with large, tiny, denormal and signed-zero ones among them
  kSpecial, // plain numbers with NaNs and infinities among them
};
constexpr const char* kPatternNames[] = {"plain", "mixed", "special"};

// Deterministic in (type, count, pattern, seed).
Codes make_codes(spf_scalar_type type, int64_t count, Pattern pattern, uint64_t seed);

// Codes for every operand that is read; empty for pure outputs and absent ones.
std::vector<Codes> make_inputs(const Problem& problem, Pattern pattern, uint64_t salt = 0);

std::vector<double> decode(spf_scalar_type type, const Codes& codes);

// A small fast generator with a splitmix64 step; good enough for test data, equal everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  double unit();                // [0, 1)
  double normal();              // mean 0, variance 1, |value| <= 6
  int64_t below(int64_t bound); // [0, bound)
  bool chance(double p) { return unit() < p; }
  template <class T>
  const T& pick(const std::vector<T>& items) {
    return items[static_cast<size_t>(below(static_cast<int64_t>(items.size())))];
  }

 private:
  uint64_t state_;
};

uint64_t hash_bytes(const void* data, size_t bytes, uint64_t seed = 0);

} // namespace spf::check

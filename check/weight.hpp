// The packed weight of a problem: random values, quantized to a named scheme, packed on demand into whichever layout
// the kernel under test reads. Built with the public API alone, once per problem and layout.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "check/memory.hpp"
#include "spearfish/quant.h"

namespace spf::check {

class Weight {
 public:
  // Cheap: nothing is quantized until somebody asks. Throws UsageError for an unknown scheme.
  Weight(const std::string& scheme, int64_t n, int64_t k, bool act_order, uint64_t seed);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  const spf_quant_scheme& scheme() const { return scheme_; }

  // A weight that is not packed yet: scheme and extents, for plan-only calls.
  spf_packed_weight header(spf_device device) const;
  // The bytes in a layout, on a device; kept.
  const spf_packed_weight& packed(const std::string& layout, Memory& memory);
  // The same for a bench, which only needs bytes that look like weights: a few hundred rows, packed, their sections
  // repeated to the size of the whole. As packed() where a layout's sections do not grow evenly with N.
  const spf_packed_weight& packed_repeated(const std::string& layout, Memory& memory);
  // 2-norm of each of the N rows of the exact values.
  const std::vector<double>& row_norms();

 private:
  // The same scheme with another N.
  Weight(const Weight& like, int64_t n) : n_(n), k_(like.k_), seed_(like.seed_), scheme_(like.scheme_) {}
  const spf_quantized_weight& quantized();
  const spf_packed_weight* find(const std::string& layout, Memory& memory) const;
  std::vector<std::byte> image(const std::string& layout, spf_packed_weight* view);
  const spf_packed_weight& keep(const std::byte* image, const spf_packed_weight& view, Memory& memory);

  struct Packed {
    Block block;
    spf_packed_weight view;
  };

  int64_t n_, k_;
  uint64_t seed_;
  spf_quant_scheme scheme_ = {};
  bool built_ = false;
  spf_quantized_weight quantized_ = {};
  std::vector<std::byte> memory_;
  std::vector<int32_t> g_idx_;
  std::vector<double> norms_;
  std::list<Packed> packed_;
};

} // namespace spf::check

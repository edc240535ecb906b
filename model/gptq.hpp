// Rounding a linear layer so that its outputs stay close, not its weights: GPTQ with scales that are fitted to it.
//
// H = sum over the inputs x of x x^T. A row w that becomes w' changes the outputs by e H e^T in all, e = w - w'. With
// H = R R^T, R upper triangular, that is |e R|^2, and its entry c is R[c,c] (e_c + sum over i < c of e_i F[i,c]),
// F[i,c] = R[i,c] / R[c,c]. Columns are rounded one after another, each from w_c + that sum: what the columns before it
// did wrong, it makes good as far as its grid allows. This is the recursion of GPTQ (Frantar et al. 2022), written
// without the inverse of H.
#pragma once

#include <cstdint>

#include "model/input_moments.hpp"
#include "spearfish/cxx/quant.hpp"

namespace spearfish::model {

// A quantized weight that owns all its bytes.
class RoundedWeight {
 public:
  explicit RoundedWeight(QuantizedWeight weight) : weight_(std::move(weight)) {}
  // `weight` borrows `bytes`.
  RoundedWeight(Buffer bytes, QuantizedWeight weight) : bytes_(std::move(bytes)), weight_(std::move(weight)) {}
  const QuantizedWeight& weight() const noexcept { return weight_; }

 private:
  Buffer bytes_;
  QuantizedWeight weight_;
};

struct GptqOptions {
  double damping = 0.01; // of the mean of H's diagonal, added to it before it is factored
  bool by_importance =
      false;           // columns of large inputs first (act order); groups stay as they are, scales are fixed before
  int refinements = 4; // passes that change single codes and scales where that lowers the error further
};

// Rounds W[N,K] (f32, row-major) into `scheme`. global_scale: the factor of schemes that have one; 0: the usual one.
//
// Formats with scales of their own tensor are rounded column by column. The scale of a group is the one of a list of
// clipped ranges that costs least, by the entries of R's diagonal; where several rows share a scale it is that of the
// extremes. GGUF's blocks are rounded whole, with what is left of earlier blocks' error put into later ones.
// Deterministic for any number of threads. Error (SPF_INVALID_ARGUMENT) if H is not finite.
RoundedWeight gptq(const QuantScheme& scheme, int64_t n, int64_t k, const float* w, const InputMoments& moments,
                   const GptqOptions& options = {}, float global_scale = 0);

} // namespace spearfish::model

// Choosing tokens from logits: see spearfish/ops/sampling.h for shapes, types and definitions.
//
//   std::vector<float> logits(2 * vocabulary), temperature{0.8f, 0.0f};  // the second row is greedy
//   std::vector<int64_t> seeds{1, 2}, positions{17, 99};
//   std::vector<int32_t> ids(2);
//   spearfish::SampleFilters filters;
//   filters.temperature = view(temperature.data(), {2});
//   spearfish::sample(view(logits.data(), {2, vocabulary}), view(ids.data(), {2}), filters, view(seeds.data(), {2}),
//                     view(positions.data(), {2}), std::nullopt, launch);
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/sampling.h"

namespace spearfish {

// out[r] = the first index of the largest logit of row r. flags: SPF_ROW_* bits, u8
inline void argmax(const Tensor& logits, const Tensor& out, const OptionalTensor& flags = std::nullopt,
                   const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_argmax(logits.get(), out.get(), detail::pointer(flags), l); });
}

// One value per row each; what is absent is off, and without temperatures every row is greedy.
struct SampleFilters {
  OptionalTensor temperature; // f32
  OptionalTensor top_k;       // i32
  OptionalTensor top_p;       // f32
  OptionalTensor min_p;       // f32
};

// ids[r] = a token of row r, drawn with the random number of (seeds[r], positions[r]). Needs the plan's workspace.
inline void sample(const Tensor& logits, const Tensor& ids, const SampleFilters& filters, const Tensor& seeds,
                   const Tensor& positions, const OptionalTensor& flags = std::nullopt,
                   const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_sample(logits.get(), ids.get(), detail::pointer(filters.temperature), detail::pointer(filters.top_k),
                      detail::pointer(filters.top_p), detail::pointer(filters.min_p), seeds.get(), positions.get(),
                      detail::pointer(flags), l);
  });
}

} // namespace spearfish

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

// One value per row each; what is absent is off.
struct Penalties {
  OptionalTensor repetition; // f32: divides positive logits of tokens that were seen, multiplies the others
  OptionalTensor presence;   // f32: taken from tokens of the output
  OptionalTensor frequency;  // f32: taken once for each occurrence in the output
};

// In place, for tokens of the prompt (bool mask) and the output (i32 counts).
inline void apply_penalties(const Tensor& logits, const OptionalTensor& prompt_mask,
                            const OptionalTensor& output_counts, const Penalties& penalties,
                            const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_apply_penalties(logits.get(), detail::pointer(prompt_mask), detail::pointer(output_counts),
                               detail::pointer(penalties.repetition), detail::pointer(penalties.presence),
                               detail::pointer(penalties.frequency), l);
  });
}

// The K largest entries of each row in descending order, K by the extent of values and indices. Needs the plan's
// workspace, as do the three below.
inline void top_k(const Tensor& logits, const Tensor& values, const Tensor& indices, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_top_k(logits.get(), values.get(), indices.get(), l); });
}

// Indices of the K largest entries of [row_starts[r], row_ends[r]), ascending, relative to the start.
inline void top_k_per_row_prefill(const Tensor& logits, const Tensor& row_starts, const Tensor& row_ends,
                                  const Tensor& indices, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_top_k_per_row_prefill(logits.get(), row_starts.get(), row_ends.get(), indices.get(), l);
  });
}

// The same for logits [B, N, V], the last N rows of sequences of these lengths.
inline void top_k_per_row_decode(const Tensor& logits, const Tensor& seq_lens, const Tensor& indices,
                                 const Launch& launch = Launch()) {
  launch.run(
      [&](const spf_launch* l) { return spf_top_k_per_row_decode(logits.get(), seq_lens.get(), indices.get(), l); });
}

// The same for windows of lengths[r] entries from row_starts[r], or from the first.
inline void large_context_topk(const Tensor& logits, const Tensor& lengths, const OptionalTensor& row_starts,
                               const Tensor& indices, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_large_context_topk(logits.get(), lengths.get(), detail::pointer(row_starts), indices.get(), l);
  });
}

} // namespace spearfish

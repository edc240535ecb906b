#include "model/rope_table.hpp"

#include "spearfish/spearfish.hpp"

namespace spearfish::model {

void fill_rope_table(const RopeConfig& rope, int64_t positions, float* out) {
  static_assert(static_cast<int>(RopeType::kDefault) == SPF_ROPE_DEFAULT);
  static_assert(static_cast<int>(RopeType::kLongRope) == SPF_ROPE_LONGROPE);
  spf_rope_config config = rope_config(rope.rotary_dim);
  config.scaling = static_cast<spf_rope_scaling>(rope.type);
  config.base = rope.theta;
  config.factor = rope.factor;
  config.original_positions = rope.original_positions;
  config.low_frequency_factor = rope.low_frequency_factor;
  config.high_frequency_factor = rope.high_frequency_factor;
  config.beta_fast = rope.beta_fast;
  config.beta_slow = rope.beta_slow;
  config.no_truncate = rope.truncate ? 0 : 1;
  config.attention_factor = rope.attention_factor;
  config.short_factors = rope.short_factors.data();
  config.long_factors = rope.long_factors.data();
  check(spf_rope_cache(&config, positions, out));
}

} // namespace spearfish::model

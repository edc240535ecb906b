// Rotation tables of a model.
#pragma once

#include <cstdint>

#include "model/config.hpp"

namespace spearfish::model {

// out: [positions, rotary_dim], a row cos then sin. Types whose frequencies depend on the length of the text (dynamic,
// longrope) take those of a text of `positions`: a runner's context decides, not the length of each prompt.
void fill_rope_table(const RopeConfig& rope, int64_t positions, float* out);

} // namespace spearfish::model

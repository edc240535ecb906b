// Scaling the inputs of linear layers, AWQ's way: W x = (W S) (x / S), where 1 / S goes into what makes x.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/gptq.hpp"

namespace spearfish::model {

// One weight that reads the inputs, [N,K] f32.
struct Reader {
  int64_t n = 0;
  const float* w = nullptr;
};

// Channels that must have one scale share a number; `count` numbers. Empty: each its own.
struct ChannelSharing {
  std::vector<int64_t> number;
  int64_t count = 0;
};

// Scales [K] = mean |x|^power, normalized to a geometric mean of 1, with the power of a list whose rounding to nearest
// costs least output error over all readers; nothing if that is not 3 % better than without scales, both to nearest and
// after GPTQ. Of weights with many rows a sample counts. After Lin et al. 2023.
std::optional<std::vector<float>> search_input_scales(const QuantScheme& scheme, std::span<const Reader> readers,
                                                      const InputMoments& moments, const ChannelSharing& sharing = {});

// W[n,k] *= scales[k].
void scale_columns(std::vector<float>& w, std::span<const float> scales);
// W[n,k] /= scales[n].
void unscale_rows(std::vector<float>& w, std::span<const float> scales);

} // namespace spearfish::model

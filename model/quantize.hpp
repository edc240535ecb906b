// From a plain checkpoint to a quantized one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.hpp"
#include "model/gptq.hpp"

namespace spearfish::model {

// What the inputs of a layer's linears are like, wherever it comes from. Valid until the next call.
struct LayerMoments {
  const InputMoments *qkv = nullptr, *o = nullptr, *gate_up = nullptr, *down = nullptr;
};
using MomentsOfLayer = std::function<LayerMoments(size_t layer)>;

struct QuantizeOptions {
  // A name of quantize_formats().
  std::string format;
  // Nothing: round to nearest. Else every layer is rounded as GPTQ does, with its inputs scaled where that can be
  // folded into the norm or the linear before it (AWQ), and what gives the smaller output error is kept, layer by
  // layer.
  MomentsOfLayer moments;
  GptqOptions gptq;
  bool scale_inputs = true; // false: no AWQ
  // Linears done of all, and what comes next. May throw, which ends everything and leaves nothing.
  std::function<void(size_t done, size_t total, std::string_view what)> progress;
};

struct QuantizedLinear {
  std::string name, scheme, method; // method: "nearest", "gptq", "awq + nearest", "awq + gptq"
  int64_t n = 0, k = 0;
  // Of the outputs over the calibration text, relative to the outputs; 0 without one.
  double nearest_error = 0, error = 0;
};

struct QuantizeReport {
  std::vector<QuantizedLinear> linears; // in the order of use; a GGUF's embedding first
  std::vector<std::string> plain;       // linears left as they were
  uint64_t source_bytes = 0, bytes = 0; // of all tensors
};

// Every name, those of compressed-tensors first.
std::vector<std::string> quantize_formats();
bool writes_gguf(std::string_view format);

// Writes a quantized copy of `source`, which was opened from `path`, to the folder `out`. The folder appears at once,
// complete and opened for a check, or never. Equal input gives equal files. Error (SPF_INVALID_ARGUMENT): an unknown
// format, an `out` that exists; otherwise as compressed_tensors_writer() and gguf_writer() say; SPF_CORRUPT_DATA naming
// the tensor if a weight is not finite.
QuantizeReport quantize_checkpoint(const Checkpoint& source, const std::filesystem::path& path,
                                   const std::filesystem::path& out, const QuantizeOptions& options);

} // namespace spearfish::model

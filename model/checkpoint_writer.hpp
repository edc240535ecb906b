// Quantized layers on their way into a checkpoint, whatever its file format.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint.hpp"
#include "spearfish/cxx/quant.hpp"

namespace spearfish::model {

// Norm weights that replace those of the source, by the data of the source's tensor; values as a norm multiplies with
// them, without the architecture's offset.
using NormValues = std::map<const void*, std::vector<float>>;

class CheckpointWriter {
 public:
  virtual ~CheckpointWriter() = default;

  // What a linear layer (or a GGUF's embedding) becomes; nothing: it stays as it is.
  virtual std::optional<QuantScheme> scheme_of(const Linear& linear) const = 0;
  // True if norms that replace the source's keep their exact values: f32. Else they are rounded to the source's type.
  virtual bool norms_are_f32() const = 0;
  // Each linear that has a scheme, once.
  virtual void write(const Linear& linear, const QuantizedWeight& weight) = 0;
  // Everything else, and the end. The files are then complete.
  virtual void finish(const NormValues& norms) = 0;
};

// Into `folder`: model.safetensors in the layout of compressed-tensors, the source's config.json with the
// quantization_config that says so, and the source's tokenizer and generation files.
//
// int: weight_packed i32 [N, K / (32 / bits)], weight_scale [N,G], weight_zero_point i32 [N / (32 / bits), G] if
// asymmetric, weight_shape i64 [2]. fp8: weight e4m3 [N,K], weight_scale [1], [N,1] or [N/128, K/128]. nvfp4:
// weight_packed u8 [N,K/2], weight_scale e4m3 [N,K/16], weight_global_scale f32 [1], a divisor. mxfp4: weight_packed u8
// [N,K/2], weight_scale u8 [N,K/32], e8m0. Scales are of the source's own type, but f32 for fp8 of an f16 model.
// Embeddings and lm_head stay plain; so does a layer whose K is not whole groups, and it stands under "ignore".
//
// Error (SPF_UNSUPPORTED): a source that is GGUF or quantized already, a format that the layout has no name for, a
// source of whose layers none can be quantized. scheme: as spf_quant_scheme_by_name() gives it.
std::unique_ptr<CheckpointWriter> compressed_tensors_writer(const Checkpoint& source,
                                                            const std::filesystem::path& source_folder,
                                                            const QuantScheme& scheme,
                                                            const std::filesystem::path& folder);

// Into `folder`: model.gguf, with the names, the order of rows and the metadata that llama.cpp's readers expect, and
// the source's tokenizer files. Blocks cannot be of the format where K is not whole blocks: 256 falls back to 32 (q5_0
// for q2_k to q4_k, q5_1 for q5_k, q8_0 for q6_k), 32 to f16. The output layer, and the embedding where that is the
// output layer too, are q6_k (q8_0 for q8_0). Norms and biases are f32.
//
// Error (SPF_UNSUPPORTED): a source that is GGUF or quantized already, a tokenizer or a rotation that GGUF cannot say.
std::unique_ptr<CheckpointWriter> gguf_writer(const Checkpoint& source, const std::filesystem::path& source_folder,
                                              const std::string& format, const std::filesystem::path& folder);

// Copies a model's tokenizer and generation files, those that are there.
void copy_side_files(const std::filesystem::path& from, const std::filesystem::path& to);

// Values of a float tensor.
std::vector<float> float_values(const spf_tensor& tensor);

} // namespace spearfish::model

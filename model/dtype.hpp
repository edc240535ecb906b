// Storage types of tensors in files, and named tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/file.hpp"
#include "spearfish/quant.h"

namespace spearfish::model {

// What a tensor's bytes are, over all file formats. The order is that of dtype_info()'s table.
enum class Dtype : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF4E2M1,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ8_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ8_K,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ3_XXS,
  kIQ1_S,
  kIQ4_NL,
  kIQ3_S,
  kIQ2_S,
  kIQ4_XS,
  kIQ1_M,
  kTQ1_0,
  kTQ2_0,
  kMXFP4Block
};
inline constexpr int kDtypeCount = static_cast<int>(Dtype::kMXFP4Block) + 1;

struct DtypeInfo {
  Dtype dtype;
  const char* name;        // "bf16", "q4_k"
  const char* safetensors; // its name there; nullptr if it cannot stand there
  int gguf;                // its number there; -1 if it cannot stand there
  int32_t block_elements;  // elements along the last dimension that are stored together
  int32_t block_bytes;     // bytes of them
  spf_scalar_type scalar;  // SPF_TYPE_NONE where the library has no such type
  spf_format format;       // SPF_FORMAT_PLAIN, a GGUF block format, or SPF_FORMAT_NONE: no weight can be of this type
};
const DtypeInfo& dtype_info(Dtype dtype);
std::optional<Dtype> dtype_from_safetensors(std::string_view name);
std::optional<Dtype> dtype_from_gguf(uint64_t number);

// A tensor in a file: where its bytes are and what they mean. Shape is outermost first.
struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  Bytes bytes;

  int64_t elements() const noexcept;
  std::string shape_text() const; // "[4096, 128]"
};

inline constexpr int kMaxFileRank = 8;

// Bytes of a tensor, or nothing if the shape overflows 2^62 bytes, an extent is negative, or the last dimension is not
// whole blocks.
std::optional<uint64_t> tensor_bytes(Dtype dtype, const std::vector<int64_t>& shape);

std::string shape_text(const std::vector<int64_t>& shape);

} // namespace spearfish::model

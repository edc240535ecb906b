// parse_safetensors: refuses, or declares tensors that lie inside the input.
#include <cstdlib>

#include "model/error.hpp"
#include "model/safetensors.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spearfish::model;
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try {
    uint64_t total = 0;
    for (const TensorEntry& tensor : parse_safetensors(input, "input").tensors) {
      if (tensor.bytes.data() < input.data() || tensor.bytes.data() + tensor.bytes.size() > input.data() + size)
        std::abort();
      if (tensor_bytes(tensor.dtype, tensor.shape) != tensor.bytes.size()) std::abort();
      total += tensor.bytes.size();
    }
    if (total > size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}

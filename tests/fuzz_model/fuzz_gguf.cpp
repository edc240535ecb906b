// parse_gguf: refuses, or gives metadata that can be written again and tensors that lie inside the input.
#include <cstdlib>

#include "model/error.hpp"
#include "model/gguf.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spearfish::model;
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try {
    const GgufFile file = parse_gguf(input, "input");
    for (const TensorEntry& tensor : file.tensors) {
      if (tensor.bytes.data() < input.data() || tensor.bytes.data() + tensor.bytes.size() > input.data() + size)
        std::abort();
      if (tensor_bytes(tensor.dtype, tensor.shape) != tensor.bytes.size()) std::abort();
    }
    GgufMetadata copy;
    for (const auto& [key, value] : file.metadata)
      if (!key.empty()) copy.value(key, value);
    if (copy.bytes().size() > size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}

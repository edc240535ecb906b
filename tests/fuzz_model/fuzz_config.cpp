// parse_config: refuses, or gives a config that answers for any module.
#include "model/config.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spearfish::model;
  try {
    const ModelConfig config = parse_config({reinterpret_cast<const char*>(data), size}, "input");
    config.quantization.scheme_of("model.layers.0.self_attn.q_proj");
    describe(config);
  } catch (const Error&) {
  }
  return 0;
}

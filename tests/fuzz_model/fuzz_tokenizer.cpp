// parse_tokenizer: refuses, or gives a tokenizer that encodes and decodes anything.
#include <cstdlib>

#include "model/error.hpp"
#include "model/tokenizer.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spearfish::model;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = parse_tokenizer(input, "input");
    for (const std::string_view text :
         {std::string_view("Hello, it's 12345  \n\n x\xc3\xa9\xff <s>"), input.substr(0, 200)})
      for (const int32_t id : tokenizer->encode(text))
        if (id < 0 || id >= tokenizer->size()) std::abort();
    const int32_t ids[] = {-1, 0, 1, 2, 3, 1 << 30};
    tokenizer->decode(ids);
  } catch (const Error&) {
  }
  return 0;
}

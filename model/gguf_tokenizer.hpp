// A model's tokenizer as metadata of a GGUF file.
#pragma once

#include <filesystem>

#include "model/config.hpp"
#include "model/gguf.hpp"

namespace spearfish::model {

// Adds the tokenizer.ggml keys for tokenizer.json in `folder`: byte-level BPE becomes "gpt2", SentencePiece-style BPE
// "llama", with tokens up to the model's vocabulary. Where there is no tokenizer.json and the vocabulary is 256, a
// token is a byte: "gpt2" without merges. Where there is none for another vocabulary: "none". Error (SPF_UNSUPPORTED):
// a tokenizer.json that is not served.
void add_gguf_tokenizer(GgufMetadata& meta, const std::filesystem::path& folder, const ModelConfig& model);

} // namespace spearfish::model

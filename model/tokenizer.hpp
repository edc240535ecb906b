// Text -> token ids -> text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spearfish::model {

struct EncodeOptions {
  bool add_special = true;   // ids that the tokenizer puts before and after a text (begin of sequence, ...)
  bool parse_special = true; // false: a special token's text is text like any other (for untrusted input)
};

// Immutable once made; safe to share between threads. Ill-formed UTF-8 is encoded byte by byte wherever the vocabulary
// has bytes (byte-level BPE, byte fallback), so that nothing is lost; decoding gives U+FFFD for bytes that make no
// character.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  // The bytes that a token stands for, not necessarily whole characters. Empty for an id that is no token.
  virtual std::string_view bytes_of(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0; // by the token's own spelling
  virtual int64_t size() const = 0;                                       // greatest id + 1
  virtual bool strips_first_space() const { return false; }

  // The whole text. skip_special: special tokens give no text.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;
};

// Text as it grows: what push() returns is always whole characters; put together, the pieces are decode() of all ids.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special), strip_(tokenizer.strips_first_space()) {}
  std::string push(int32_t id);
  std::string finish(); // what is left; an unfinished character gives U+FFFD

 private:
  std::string take(bool all);
  const Tokenizer* tokenizer_;
  bool skip_special_, strip_;
  std::string pending_; // the start of a character
};

// A token is a byte. `begin`: an id put before a text, as for the sample model (0).
std::unique_ptr<Tokenizer> byte_tokenizer(std::optional<int32_t> begin = std::nullopt);

// tokenizer.json of the tokenizers library, with a BPE model: byte-level (GPT-2, Llama-3, Qwen2, ...) or
// SentencePiece-style (Llama-2, Mistral, Gemma, Phi-3: "▁" for a space, byte fallback). Error names the part that is
// not served, or the token, merge or id that is wrong.
std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, std::string_view file);

// tokenizer.json in a model's folder; the byte tokenizer, with the model's begin-of-sequence id, if there is none and
// the model's vocabulary is 256. Error (SPF_NOT_FOUND) if there is none, (SPF_CORRUPT_DATA) if it has ids that the
// model has no row for.
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& folder, int64_t vocab,
                                          std::optional<int32_t> begin);

} // namespace spearfish::model

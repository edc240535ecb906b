#include "model/tokenizer.hpp"

#include <array>

#include "model/error.hpp"
#include "model/file.hpp"
#include "model/unicode.hpp"

namespace spearfish::model {
namespace {

constexpr uint64_t kMaxTokenizerBytes = 256'000'000;
constexpr std::string_view kReplacement = "\xef\xbf\xbd"; // U+FFFD

class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(std::optional<int32_t> begin) : begin_(begin) {
    for (size_t b = 0; b < bytes_.size(); ++b) bytes_[b] = static_cast<char>(b);
  }
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() + 1);
    if (begin_ && options.add_special) ids.push_back(*begin_);
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string_view bytes_of(int32_t id) const override {
    return id >= 0 && id < 256 ? std::string_view(&bytes_[static_cast<size_t>(id)], 1) : std::string_view();
  }
  bool is_special(int32_t id) const override { return begin_ && id == *begin_; }
  std::optional<int32_t> id_of(std::string_view token) const override {
    return token.size() == 1 ? std::optional<int32_t>(static_cast<uint8_t>(token[0])) : std::nullopt;
  }
  int64_t size() const override { return 256; }

 private:
  std::optional<int32_t> begin_;
  std::array<char, 256> bytes_;
};

// Bytes at the end of `text` that may still become a character.
size_t unfinished(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) continue; // a later byte of a character
    if (utf8_length(byte) <= back) return 0;
    // A second byte can already rule a character out: overlong forms, surrogates, beyond U+10FFFF.
    std::string filled(text.substr(text.size() - back));
    const uint32_t length = utf8_length(byte);
    if (back == 1) return 1;
    filled.append(length - back, '\x80');
    return utf8_at(filled, 0).length == length ? back : 0;
  }
  return 0;
}

std::string well_formed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8 c = utf8_at(text, at);
    if (c.code >= kIllFormed)
      out += kReplacement;
    else
      out += text.substr(at, c.length);
    at += c.length;
  }
  return out;
}

} // namespace

std::string StreamDecoder::take(bool all) {
  const size_t kept = all ? 0 : unfinished(pending_);
  std::string out = well_formed(std::string_view(pending_).substr(0, pending_.size() - kept));
  pending_.erase(0, pending_.size() - kept);
  if (strip_ && !out.empty()) {
    if (out.front() == ' ') out.erase(0, 1);
    strip_ = false;
  }
  return out;
}

std::string StreamDecoder::push(int32_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  pending_ += tokenizer_->bytes_of(id);
  return take(false);
}

std::string StreamDecoder::finish() { return take(true); }

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  StreamDecoder decoder(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

std::unique_ptr<Tokenizer> byte_tokenizer(std::optional<int32_t> begin) {
  return std::make_unique<ByteTokenizer>(begin);
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& folder, int64_t vocab,
                                          std::optional<int32_t> begin) {
  const std::filesystem::path path = folder / "tokenizer.json";
  if (!std::filesystem::exists(path)) {
    if (vocab == 256) return byte_tokenizer(begin);
    throw Error(SPF_NOT_FOUND, path.string(), "tokenizer", "missing",
                "a tokenizer.json, a vocabulary of 256 (bytes), or token ids instead of text");
  }
  auto tokenizer = parse_tokenizer(read_text(path, kMaxTokenizerBytes), path.string());
  if (tokenizer->size() > vocab)
    throw Error(SPF_CORRUPT_DATA, path.string(), "vocabulary", "ids up to " + std::to_string(tokenizer->size() - 1),
                "ids below the model's vocab_size, " + std::to_string(vocab));
  return tokenizer;
}

} // namespace spearfish::model

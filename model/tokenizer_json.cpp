// tokenizer.json with a BPE model. The stages, in order: added tokens are cut out, the rest is normalized, cut into
// words, its characters or bytes become ids, pairs are merged, and the template puts its ids around.
#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "model/bpe.hpp"
#include "model/json.hpp"
#include "model/pretokenize.hpp"
#include "model/tokenizer.hpp"
#include "model/unicode.hpp"

namespace spearfish::model {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81"; // U+2581, SentencePiece's visible space
constexpr int32_t kNoId = -1;

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t at = 0;
  for (size_t hit = text.find(from); hit != std::string_view::npos; hit = text.find(from, at)) {
    out += text.substr(at, hit - at);
    out += to;
    at = hit + from.size();
  }
  out += text.substr(at);
  return out;
}

// A step of normalization.
struct Normalize {
  enum class Kind { kNfc, kPrepend, kReplace } kind;
  std::string from, to;
};

// A step that cuts text into words; the last is always what makes symbols.
struct Cut {
  enum class Kind { kRule, kByteLevel, kMetaspace, kString } kind;
  SplitRule rule = SplitRule::kGpt2;
  bool split = true;         // byte level: by GPT-2's rule; metaspace: at spaces
  bool prefix_space = false; // byte level
  enum class Prepend { kAlways, kFirst, kNever } prepend = Prepend::kNever; // metaspace
  std::string text; // string: what to split at, kept with what is before it
};

struct AddedToken {
  std::string text;
  int32_t id = 0;
  bool special = false, normalized = false, strip_left = false, strip_right = false;
};

// Tokens to be found in a text: the leftmost, and the longest there.
class AddedTokens {
 public:
  void add(AddedToken token) {
    longest_[token.text[0]] = std::max(longest_[token.text[0]], token.text.size());
    tokens_.emplace(token.text, std::move(token));
  }
  const AddedToken* at(std::string_view text, size_t position, bool parse_special) const {
    const auto longest = longest_.find(text[position]);
    if (longest == longest_.end()) return nullptr;
    for (size_t n = std::min(longest->second, text.size() - position); n > 0; --n) {
      const auto it = tokens_.find(std::string(text.substr(position, n)));
      if (it != tokens_.end() && (parse_special || !it->second.special)) return &it->second;
    }
    return nullptr;
  }
  bool empty() const { return tokens_.empty(); }

 private:
  std::unordered_map<std::string, AddedToken> tokens_;
  std::unordered_map<char, size_t> longest_;
};

class JsonTokenizer final : public Tokenizer {
 public:
  explicit JsonTokenizer(const JsonObject& root) {
    read_model(root);
    read_added(root);
    index_ids(root);
    if (root.has("normalizer")) read_normalizer(root.object("normalizer"));
    if (root.has("pre_tokenizer")) read_cut(root.object("pre_tokenizer"));
    if (root.has("post_processor")) read_template(root.object("post_processor"));
    if (root.has("decoder")) read_decoder(root.object("decoder"));
    finish();
  }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string_view bytes_of(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < bytes_.size() ? std::string_view(bytes_[static_cast<size_t>(id)])
                                                              : std::string_view();
  }
  bool is_special(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < special_.size() && special_[static_cast<size_t>(id)];
  }
  std::optional<int32_t> id_of(std::string_view token) const override {
    const auto it = ids_.find(std::string(token));
    return it == ids_.end() ? std::nullopt : std::optional<int32_t>(it->second);
  }
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  bool strips_first_space() const override { return strip_first_; }

 private:
  void read_model(const JsonObject& root);
  void read_merges(const JsonObject& model);
  void read_added(const JsonObject& root);
  void index_ids(const JsonObject& root);
  void read_normalizer(const JsonObject& step);
  void read_cut(const JsonObject& step);
  void read_template(const JsonObject& step);
  void read_decoder(const JsonObject& step);
  void finish();

  void encode_plain(std::string_view text, bool first, bool parse_special, std::vector<int32_t>& ids) const;
  void encode_normalized(std::string_view text, bool first, std::vector<int32_t>& ids) const;
  void encode_cut(std::string_view text, bool first, size_t step, std::vector<int32_t>& ids) const;
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  template <class Between>
  void split_added(const AddedTokens& added, std::string_view text, bool parse_special, std::vector<int32_t>& ids,
                   Between&& between) const;
  std::string normalize(std::string text) const;

  std::unordered_map<std::string, int32_t> ids_; // by spelling
  std::vector<std::string> bytes_;               // by id: what it decodes to
  std::vector<bool> special_;
  MergeTable merges_;
  bool byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
  int32_t unknown_ = kNoId;
  AddedTokens raw_added_, normalized_added_; // found before and after normalization
  std::vector<AddedToken> added_;
  std::vector<Normalize> normalizers_;
  std::vector<Cut> cuts_;
  std::vector<int32_t> before_, after_; // of the template
  bool byte_level_ = false;             // symbols are bytes, spelled in GPT-2's alphabet
  std::array<int32_t, 256> byte_ids_ = {};
  bool decode_bytes_ = false, decode_space_ = false, decode_fallback_ = false, strip_first_ = false;
};

// --- reading ---------------------------------------------------------------------------------------------------------

void JsonTokenizer::read_model(const JsonObject& root) {
  const JsonObject model = root.object("model");
  const std::string type = model.string("type", "BPE");
  if (type != "BPE") model.refuse("type", type, "BPE");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!model.string(key, "").empty()) model.refuse(key, model.string(key), "none");
  if (model.has("dropout") && model.number("dropout") != 0)
    model.refuse("dropout", shown(*model.find("dropout")), "none");
  byte_fallback_ = model.boolean("byte_fallback", false);
  fuse_unknown_ = model.boolean("fuse_unk", false);
  ignore_merges_ = model.boolean("ignore_merges", false);
  const JsonObject vocab = model.object("vocab");
  for (const auto& [token, id] : vocab.json().items())
    ids_.emplace(token, static_cast<int32_t>(vocab.integer(token, 0, INT32_MAX)));
  if (const std::string unknown = model.string("unk_token", ""); !unknown.empty()) {
    const auto it = ids_.find(unknown);
    if (it == ids_.end()) model.refuse("unk_token", unknown, "a token of vocab", SPF_CORRUPT_DATA);
    unknown_ = it->second;
  }
  read_merges(model);
}

void JsonTokenizer::read_merges(const JsonObject& model) {
  for (const Json& item : model.array("merges")) {
    std::string left, right;
    if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      left = item[0].get<std::string>();
      right = item[1].get<std::string>();
    } else if (item.is_string()) {
      const auto& pair = item.get_ref<const std::string&>();
      const size_t space = pair.find(' ');
      if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos)
        model.refuse("merges", shown(item), "two tokens with one space between them", SPF_CORRUPT_DATA);
      left = pair.substr(0, space);
      right = pair.substr(space + 1);
    } else {
      model.refuse("merges", shown(item), "two tokens", SPF_CORRUPT_DATA);
    }
    const auto a = ids_.find(left), b = ids_.find(right), c = ids_.find(left + right);
    if (a == ids_.end() || b == ids_.end() || c == ids_.end())
      model.refuse("merges", shown(item), "tokens of vocab whose whole is one too", SPF_CORRUPT_DATA);
    merges_.add(a->second, b->second, c->second);
  }
}

void JsonTokenizer::read_added(const JsonObject& root) {
  if (!root.has("added_tokens")) return;
  size_t index = 0;
  for (const Json& item : root.array("added_tokens")) {
    const JsonObject token(item, root.file(), root.field("added_tokens[" + std::to_string(index++) + "]"));
    AddedToken added;
    added.text = token.string("content");
    added.id = static_cast<int32_t>(token.integer("id", 0, INT32_MAX));
    added.special = token.boolean("special", false);
    added.normalized = token.boolean("normalized", !added.special);
    added.strip_left = token.boolean("lstrip", false);
    added.strip_right = token.boolean("rstrip", false);
    if (added.text.empty()) token.refuse("content", "\"\"", "some text", SPF_CORRUPT_DATA);
    if (token.boolean("single_word", false)) token.refuse("single_word", "true", "false");
    const auto [it, fresh] = ids_.emplace(added.text, added.id);
    if (!fresh && it->second != added.id)
      token.refuse("id", std::to_string(added.id), std::to_string(it->second) + ", which vocab gives " + added.text,
                   SPF_CORRUPT_DATA);
    added_.push_back(added);
  }
}

void JsonTokenizer::index_ids(const JsonObject& root) {
  // A table over the ids must not be longer than the ids there are can justify.
  const size_t limit = 4 * ids_.size() + 1024;
  int32_t greatest = -1;
  for (const auto& [token, id] : ids_) {
    if (static_cast<size_t>(id) >= limit)
      root.refuse("model.vocab", "id " + std::to_string(id) + " for " + token, "ids below " + std::to_string(limit),
                  SPF_CORRUPT_DATA);
    greatest = std::max(greatest, id);
  }
  std::vector<bool> taken(static_cast<size_t>(greatest + 1));
  bytes_.resize(taken.size());
  special_.resize(taken.size());
  for (const auto& [token, id] : ids_) {
    if (taken[static_cast<size_t>(id)])
      root.refuse("model.vocab", "id " + std::to_string(id) + " for two tokens", "each id once", SPF_CORRUPT_DATA);
    taken[static_cast<size_t>(id)] = true;
    bytes_[static_cast<size_t>(id)] = token;
  }
}

void JsonTokenizer::read_normalizer(const JsonObject& step) {
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const Json& inner : step.array("normalizers"))
      read_normalizer({inner, step.file(), step.field("normalizers")});
  } else if (type == "NFC") {
    normalizers_.push_back({Normalize::Kind::kNfc, "", ""});
  } else if (type == "Prepend") {
    normalizers_.push_back({Normalize::Kind::kPrepend, "", step.string("prepend")});
  } else if (type == "Replace") {
    const std::string from = step.object("pattern").string("String");
    if (from.empty()) step.refuse("pattern.String", "\"\"", "some text", SPF_CORRUPT_DATA);
    normalizers_.push_back({Normalize::Kind::kReplace, from, step.string("content")});
  } else {
    step.refuse("type", type, "Sequence, NFC, Prepend, Replace");
  }
}

void JsonTokenizer::read_cut(const JsonObject& step) {
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const Json& inner : step.array("pretokenizers")) read_cut({inner, step.file(), step.field("pretokenizers")});
  } else if (type == "ByteLevel") {
    Cut cut{.kind = Cut::Kind::kByteLevel, .text = {}};
    cut.split = step.boolean("use_regex", true);
    cut.prefix_space = step.boolean("add_prefix_space", true);
    cuts_.push_back(cut);
    byte_level_ = true;
  } else if (type == "Split") {
    const JsonObject pattern = step.object("pattern");
    const std::string behavior = step.string("behavior");
    if (step.boolean("invert", false)) step.refuse("invert", "true", "false");
    if (pattern.has("String")) {
      if (behavior != "MergedWithPrevious") step.refuse("behavior", behavior, "MergedWithPrevious, for a String");
      Cut cut{.kind = Cut::Kind::kString, .text = pattern.string("String")};
      if (cut.text.empty()) pattern.refuse("String", "\"\"", "some text", SPF_CORRUPT_DATA);
      cuts_.push_back(cut);
      return;
    }
    if (behavior != "Isolated") step.refuse("behavior", behavior, "Isolated, for a Regex");
    const auto rule = split_rule_of(pattern.string("Regex"));
    if (!rule) pattern.refuse("Regex", pattern.string("Regex"), "the expressions of GPT-2, Llama-3 and Qwen2");
    cuts_.push_back({.kind = Cut::Kind::kRule, .rule = *rule, .text = {}});
  } else if (type == "Metaspace") {
    Cut cut{.kind = Cut::Kind::kMetaspace, .text = {}};
    if (const std::string mark = step.string("replacement", kSpaceMark); mark != kSpaceMark)
      step.refuse("replacement", mark, kSpaceMark);
    const std::string prepend =
        step.string("prepend_scheme", step.boolean("add_prefix_space", true) ? "always" : "never");
    if (prepend != "always" && prepend != "first" && prepend != "never")
      step.refuse("prepend_scheme", prepend, "always, first, never");
    cut.prepend = prepend == "always"  ? Cut::Prepend::kAlways
                  : prepend == "first" ? Cut::Prepend::kFirst
                                       : Cut::Prepend::kNever;
    cut.split = step.boolean("split", true);
    cuts_.push_back(cut);
  } else {
    step.refuse("type", type, "Sequence, ByteLevel, Split, Metaspace");
  }
}

void JsonTokenizer::read_template(const JsonObject& step) {
  const std::string type = step.string("type");
  if (type == "ByteLevel") return; // concerns offsets only
  if (type == "Sequence") {
    for (const Json& inner : step.array("processors")) read_template({inner, step.file(), step.field("processors")});
    return;
  }
  if (type != "TemplateProcessing") step.refuse("type", type, "Sequence, ByteLevel, TemplateProcessing");
  bool passed = false;
  for (const Json& inner : step.array("single")) {
    const JsonObject piece(inner, step.file(), step.field("single"));
    if (piece.has("Sequence")) {
      if (passed) step.refuse("single", "two Sequences", "one", SPF_CORRUPT_DATA);
      passed = true;
      continue;
    }
    const std::string token = piece.object("SpecialToken").string("id");
    const auto it = ids_.find(token);
    if (it == ids_.end()) step.refuse("single", token, "a token of the vocabulary", SPF_CORRUPT_DATA);
    (passed ? after_ : before_).push_back(it->second);
  }
  if (!passed) step.refuse("single", "without Sequence", "one Sequence", SPF_CORRUPT_DATA);
}

void JsonTokenizer::read_decoder(const JsonObject& step) {
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const Json& inner : step.array("decoders")) read_decoder({inner, step.file(), step.field("decoders")});
  } else if (type == "ByteLevel") {
    decode_bytes_ = true;
  } else if (type == "Replace") {
    const std::string from = step.object("pattern").string("String"), to = step.string("content");
    if (from != kSpaceMark || to != " ")
      step.refuse("pattern.String", from, std::string(kSpaceMark) + ", replaced by a space");
    decode_space_ = true;
  } else if (type == "ByteFallback") {
    decode_fallback_ = true;
  } else if (type == "Strip") {
    if (step.string("content") != " " || step.integer("start", 0, 1) != 1 || step.integer("stop", 0, 1) != 0)
      step.refuse("content", shown(step.json()), "one space, at the start");
    strip_first_ = true;
  } else if (type == "Metaspace") {
    decode_space_ = true;
    strip_first_ =
        step.string("prepend_scheme", step.boolean("add_prefix_space", true) ? "always" : "never") != "never";
  } else if (type != "Fuse") {
    step.refuse("type", type, "Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace");
  }
}

// "<0xE2>" -> 0xe2.
std::optional<uint8_t> byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'A' && c <= 'F')) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(digit ? c - '0' : c - 'A' + 10);
  }
  return static_cast<uint8_t>(value);
}

void JsonTokenizer::finish() {
  const std::array<uint32_t, 256> alphabet = byte_alphabet();
  std::unordered_map<uint32_t, char> byte_of;
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (size_t b = 0; b < 256; ++b) {
    byte_of.emplace(alphabet[b], static_cast<char>(b));
    std::string spelled;
    if (byte_level_)
      append_utf8(spelled, alphabet[b]);
    else
      spelled = std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + ">";
    const auto it = ids_.find(spelled);
    byte_ids_[b] = it == ids_.end() ? kNoId : it->second;
  }
  for (std::string& token : bytes_) {
    if (decode_bytes_) {
      std::string raw;
      bool whole = true; // every character stands for a byte
      for (size_t at = 0; at < token.size() && whole;) {
        const Utf8 c = utf8_at(token, at);
        const auto it = byte_of.find(c.code);
        whole = it != byte_of.end();
        if (whole) raw += it->second;
        at += c.length;
      }
      if (whole) token = raw;
    } else if (const auto byte = byte_token(token); byte && decode_fallback_) {
      token.assign(1, static_cast<char>(*byte));
    } else if (decode_space_) {
      token = replaced(token, kSpaceMark, " ");
    }
  }
  for (const AddedToken& token : added_) {
    if (token.special) special_[static_cast<size_t>(token.id)] = true;
    AddedToken entry = token;
    if (entry.normalized) entry.text = normalize(entry.text);
    if (!entry.text.empty()) (entry.normalized ? normalized_added_ : raw_added_).add(std::move(entry));
  }
}

// --- encoding --------------------------------------------------------------------------------------------------------

std::string JsonTokenizer::normalize(std::string text) const {
  for (const Normalize& step : normalizers_) {
    switch (step.kind) {
      case Normalize::Kind::kNfc:
        text = nfc(text);
        break;
      case Normalize::Kind::kPrepend:
        if (!text.empty()) text = step.to + text;
        break;
      case Normalize::Kind::kReplace:
        text = replaced(text, step.from, step.to);
        break;
    }
  }
  return text;
}

// Ids of added tokens, and `between(piece, is_first)` for what lies between them.
template <class Between>
void JsonTokenizer::split_added(const AddedTokens& added, std::string_view text, bool parse_special,
                                std::vector<int32_t>& ids, Between&& between) const {
  size_t begin = 0;
  for (size_t at = 0; !added.empty() && at < text.size();) {
    const AddedToken* token = added.at(text, at, parse_special);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t from = at, to = at + token->text.size();
    if (token->strip_left) {
      size_t blank = begin; // first byte of the blanks before the token
      for (size_t p = begin; p < from;) {
        const Utf8 c = utf8_at(text, p);
        p += c.length;
        if (!is_space(c.code)) blank = p;
      }
      from = blank;
    }
    while (token->strip_right && to < text.size() && is_space(utf8_at(text, to).code)) to += utf8_at(text, to).length;
    if (from > begin) between(text.substr(begin, from - begin), begin == 0);
    ids.push_back(token->id);
    begin = at = to;
  }
  if (begin < text.size()) between(text.substr(begin), begin == 0);
}

std::vector<int32_t> JsonTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  if (options.add_special) ids = before_;
  split_added(raw_added_, text, options.parse_special, ids,
              [&](std::string_view piece, bool first) { encode_plain(piece, first, options.parse_special, ids); });
  if (options.add_special) ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

void JsonTokenizer::encode_plain(std::string_view text, bool first, bool parse_special,
                                 std::vector<int32_t>& ids) const {
  const std::string normalized = normalize(std::string(text));
  split_added(normalized_added_, normalized, parse_special, ids,
              [&](std::string_view piece, bool leading) { encode_cut(piece, first && leading, 0, ids); });
}

void JsonTokenizer::encode_cut(std::string_view text, bool first, size_t step, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  if (step == cuts_.size()) return encode_word(text, ids);
  const Cut& cut = cuts_[step];
  const auto by_rule = [&](SplitRule rule, std::string_view all) {
    for (size_t at = 0; at < all.size();) {
      const size_t length = next_piece(rule, all, at);
      encode_cut(all.substr(at, length), first && at == 0, step + 1, ids);
      at += length;
    }
  };
  // Pieces that begin (or, for a string split, end) with `mark`.
  const auto at_marks = [&](std::string_view all, std::string_view mark, bool mark_begins) {
    for (size_t at = 0; at < all.size();) {
      size_t next = all.find(mark, mark_begins ? at + 1 : at);
      next = next == std::string_view::npos ? all.size() : next + (mark_begins ? 0 : mark.size());
      encode_cut(all.substr(at, next - at), first && at == 0, step + 1, ids);
      at = next;
    }
  };
  switch (cut.kind) {
    case Cut::Kind::kRule:
      return by_rule(cut.rule, text);
    case Cut::Kind::kString:
      return at_marks(text, cut.text, false);
    case Cut::Kind::kByteLevel: {
      const std::string spaced = cut.prefix_space && text.front() != ' ' ? " " + std::string(text) : std::string(text);
      return cut.split ? by_rule(SplitRule::kGpt2, spaced) : encode_cut(spaced, first, step + 1, ids);
    }
    case Cut::Kind::kMetaspace: {
      std::string marked = replaced(text, " ", kSpaceMark);
      const bool prepend = cut.prepend == Cut::Prepend::kAlways || (cut.prepend == Cut::Prepend::kFirst && first);
      if (prepend && !marked.starts_with(kSpaceMark)) marked = std::string(kSpaceMark) + marked;
      return cut.split ? at_marks(marked, kSpaceMark, true) : encode_cut(marked, first, step + 1, ids);
    }
  }
}

void JsonTokenizer::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<int32_t> symbols;
  if (byte_level_) {
    if (ignore_merges_) {
      static const std::array<uint32_t, 256> alphabet = byte_alphabet();
      std::string spelled;
      for (const char c : word) append_utf8(spelled, alphabet[static_cast<uint8_t>(c)]);
      if (const auto it = ids_.find(spelled); it != ids_.end()) return ids.push_back(it->second);
    }
    for (const char c : word) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
      if (id != kNoId)
        symbols.push_back(id);
      else if (unknown_ != kNoId)
        symbols.push_back(unknown_);
    }
  } else {
    if (ignore_merges_)
      if (const auto it = ids_.find(std::string(word)); it != ids_.end()) return ids.push_back(it->second);
    bool after_unknown = false;
    for (size_t at = 0; at < word.size();) {
      const Utf8 c = utf8_at(word, at);
      const std::string_view character = word.substr(at, c.length);
      at += c.length;
      const auto it = ids_.find(std::string(character));
      const bool has_bytes = byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char b) {
                               return byte_ids_[static_cast<uint8_t>(b)] != kNoId;
                             });
      if (it != ids_.end()) {
        symbols.push_back(it->second);
      } else if (has_bytes) {
        for (const char b : character) symbols.push_back(byte_ids_[static_cast<uint8_t>(b)]);
      } else if (unknown_ != kNoId) {
        if (!(fuse_unknown_ && after_unknown)) symbols.push_back(unknown_);
        after_unknown = true;
        continue;
      }
      after_unknown = false;
    }
  }
  merges_.merge(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

} // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, std::string_view file) {
  const Json document = parse_json(json, file);
  return std::make_unique<JsonTokenizer>(JsonObject(document, std::string(file), ""));
}

} // namespace spearfish::model

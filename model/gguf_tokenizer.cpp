#include "model/gguf_tokenizer.hpp"

#include <array>
#include <map>

#include "model/json.hpp"
#include "model/pretokenize.hpp"
#include "model/tokenizer.hpp"
#include "model/unicode.hpp"

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxBytes = 100'000'000;

// tokenizer.ggml.token_type
enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// Lists by id.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores; // of SentencePiece only

  explicit Vocabulary(int64_t size) : types(static_cast<size_t>(size), kUnused), scores(types.size(), 0.0f) {
    for (int64_t id = 0; id < size; ++id) tokens.push_back("[PAD" + std::to_string(id) + "]");
  }
  void set(int64_t id, const std::string& token, TokenType type) {
    if (static_cast<size_t>(id) >= tokens.size()) return; // ids beyond the model's rows never come out of it
    tokens[static_cast<size_t>(id)] = token;
    types[static_cast<size_t>(id)] = type;
  }
};

void put(GgufMetadata& meta, const char* model, const char* pre, const Vocabulary& v,
         const std::vector<std::string>* merges) {
  meta.string("tokenizer.ggml.model", model);
  if (pre != nullptr) meta.string("tokenizer.ggml.pre", pre);
  meta.strings("tokenizer.ggml.tokens", v.tokens);
  if (merges == nullptr) meta.numbers("tokenizer.ggml.scores", GgufType::kF32, std::span<const float>(v.scores));
  meta.numbers("tokenizer.ggml.token_type", GgufType::kI32, std::span<const int32_t>(v.types));
  if (merges != nullptr) meta.strings("tokenizer.ggml.merges", *merges);
}

// Depth-first over a step of tokenizer.json and the steps inside it.
template <class Visit>
void each_step(const JsonObject& step, const char* inner, const Visit& visit) {
  if (step.string("type", "") == "Sequence") {
    for (const Json& item : step.array(inner)) each_step({item, step.file(), step.field(inner)}, inner, visit);
  } else {
    visit(step);
  }
}

// The name that llama.cpp gives the rule by which a text is cut into words; nullptr: not byte-level.
const char* pre_tokenizer(const JsonObject& root) {
  if (!root.has("pre_tokenizer")) return nullptr;
  bool byte_level = false;
  const char* name = "gpt-2";
  each_step(root.object("pre_tokenizer"), "pretokenizers", [&](const JsonObject& step) {
    const std::string type = step.string("type", "");
    byte_level |= type == "ByteLevel";
    if (type != "Split" || !step.object("pattern").has("Regex")) return;
    const auto rule = split_rule_of(step.object("pattern").string("Regex"));
    if (rule == SplitRule::kCl100k) name = "llama-bpe";
    if (rule == SplitRule::kQwen2) name = "qwen2";
  });
  return byte_level ? name : nullptr;
}

// Whether SentencePiece puts a space before the text.
bool prepends_space(const JsonObject& root) {
  bool yes = false;
  if (root.has("normalizer"))
    each_step(root.object("normalizer"), "normalizers",
              [&](const JsonObject& step) { yes |= step.string("type", "") == "Prepend"; });
  if (root.has("pre_tokenizer"))
    each_step(root.object("pre_tokenizer"), "pretokenizers", [&](const JsonObject& step) {
      if (step.string("type", "") == "Metaspace")
        yes |= step.string("prepend_scheme", step.boolean("add_prefix_space", true) ? "always" : "never") != "never";
    });
  return yes;
}

bool is_byte_token(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

void put_json(GgufMetadata& meta, const JsonObject& root, int64_t vocab) {
  const JsonObject model = root.object("model");
  const std::string unknown = model.string("unk_token", "");
  Vocabulary v(vocab);
  std::map<std::string, int64_t> ids;
  const JsonObject tokens = model.object("vocab");
  const bool fallback = model.boolean("byte_fallback", false);
  for (const auto& [token, value] : tokens.json().items()) {
    const int64_t id = ids[token] = tokens.integer(token, 0, INT32_MAX);
    v.set(id, token, token == unknown ? kUnknown : fallback && is_byte_token(token) ? kByte : kNormal);
  }
  size_t index = 0;
  if (root.has("added_tokens"))
    for (const Json& item : root.array("added_tokens")) {
      const JsonObject token(item, root.file(), root.field("added_tokens[" + std::to_string(index++) + "]"));
      const std::string text = token.string("content");
      if (text == unknown) continue;
      v.set(token.integer("id", 0, INT32_MAX), text, token.boolean("special", false) ? kControl : kUserDefined);
    }
  std::vector<std::string> merges;
  for (const Json& item : model.array("merges"))
    merges.push_back(item.is_string() ? item.get<std::string>()
                                      : item.at(0).get<std::string>() + " " + item.at(1).get<std::string>());
  if (const char* pre = pre_tokenizer(root); pre != nullptr) return put(meta, "gpt2", pre, v, &merges);
  // SentencePiece merges what scores highest: the earlier a merge stands, the higher.
  for (size_t i = merges.size(); i-- > 0;) {
    const size_t space = merges[i].find(' ', 1);
    const auto it = ids.find(merges[i].substr(0, space) + merges[i].substr(space + 1));
    if (it != ids.end() && it->second < vocab) v.scores[static_cast<size_t>(it->second)] = -static_cast<float>(i);
  }
  put(meta, "llama", nullptr, v, nullptr);
  meta.boolean("tokenizer.ggml.add_space_prefix", prepends_space(root));
}

} // namespace

void add_gguf_tokenizer(GgufMetadata& meta, const fs::path& folder, const ModelConfig& model) {
  constexpr int64_t kBytes = 256;
  const fs::path path = folder / "tokenizer.json";
  const bool has_json = fs::exists(path);
  if (!has_json && model.vocab != kBytes) {
    meta.string("tokenizer.ggml.model", "none");
    return;
  }
  std::optional<int32_t> begin;
  if (!model.bos.empty()) begin = static_cast<int32_t>(model.bos.front());
  // Refuses what is not served, and knows what comes before a text.
  const auto tokenizer = open_tokenizer(folder, model.vocab, begin);
  if (has_json) {
    const Json document = parse_json(read_text(path, kMaxBytes), path.string());
    put_json(meta, JsonObject(document, path.string(), ""), model.vocab);
  } else {
    Vocabulary v(kBytes);
    for (int32_t byte = 0; byte < kBytes; ++byte) {
      std::string token;
      append_utf8(token, byte_alphabet()[static_cast<size_t>(byte)]);
      v.set(byte, token, byte == begin ? kControl : kNormal);
    }
    const std::vector<std::string> no_merges;
    put(meta, "gpt2", "gpt-2", v, &no_merges);
  }
  if (begin) meta.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*begin));
  if (!model.eos.empty()) meta.u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(model.eos.front()));
  const std::vector<int32_t> before = tokenizer->encode("");
  meta.boolean("tokenizer.ggml.add_bos_token", begin && !before.empty() && before.front() == *begin);
}

} // namespace spearfish::model

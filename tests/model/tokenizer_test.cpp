// Tokenizers against the ids of the reference library: tests/data/tokenizers, made by scripts/tokenizer_fixtures.py.
#include "model/tokenizer.hpp"

#include <random>

#include "model/json.hpp"
#include "model/unicode.hpp"
#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish::model;

const fs::path kFixtures = SPF_TEST_DATA "/tokenizers";

const Json& fixture() {
  static const Json json = Json::parse(slurp(kFixtures / "texts.json"));
  return json;
}

std::unique_ptr<Tokenizer> fixture_tokenizer(const std::string& name) {
  return parse_tokenizer(slurp(kFixtures / (name + ".json")), name);
}

class Reference : public testing::TestWithParam<const char*> {};

TEST_P(Reference, GivesTheSameIds) {
  const auto tokenizer = fixture_tokenizer(GetParam());
  const Json& texts = fixture()["texts"];
  const Json& ids = fixture()["ids"][GetParam()];
  ASSERT_GT(texts.size(), 150u);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    EXPECT_EQ(tokenizer->encode(text), ids[i].get<std::vector<int32_t>>()) << "text " << i << ": " << texts[i].dump();
  }
}

TEST_P(Reference, DecodesTheSameText) {
  const auto tokenizer = fixture_tokenizer(GetParam());
  const Json& ids = fixture()["ids"][GetParam()];
  for (size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(tokenizer->decode(ids[i].get<std::vector<int32_t>>()),
              fixture()["decoded"][GetParam()][i].get<std::string>())
        << "text " << i;
}

bool is_well_formed(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8 c = utf8_at(text, at);
    if (c.code >= kIllFormed) return false;
    at += c.length;
  }
  return true;
}

TEST_P(Reference, StreamsWholeCharacters) {
  const auto tokenizer = fixture_tokenizer(GetParam());
  for (const Json& row : fixture()["ids"][GetParam()]) {
    const auto ids = row.get<std::vector<int32_t>>();
    StreamDecoder stream(*tokenizer);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = stream.push(id);
      EXPECT_TRUE(is_well_formed(piece));
      text += piece;
    }
    EXPECT_EQ(text + stream.finish(), tokenizer->decode(ids));
  }
  // Any ids at all, known or not.
  std::mt19937 random(11);
  StreamDecoder stream(*tokenizer, false);
  for (int i = 0; i < 5000; ++i) EXPECT_TRUE(is_well_formed(stream.push(static_cast<int32_t>(random() % 1500) - 20)));
  EXPECT_TRUE(is_well_formed(stream.finish()));
}

// What is encoded without loss comes back, whatever bytes it is made of.
TEST_P(Reference, KeepsIllFormedBytes) {
  const std::string name = GetParam();
  const auto tokenizer = fixture_tokenizer(name);
  std::mt19937 random(12);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (size_t n = random() % 20; n > 0; --n)
      text += static_cast<char>(random() % 3 == 0 ? random() : 'a' + random() % 26);
    std::string bytes;
    for (const int32_t id : tokenizer->encode(text, {.add_special = false})) bytes += tokenizer->bytes_of(id);
    if (tokenizer->strips_first_space() || name == "gpt2_prefix")
      bytes.erase(0, bytes.starts_with(" ") && !text.starts_with(" ") ? 1 : 0);
    if (name == "qwen2" && nfc(text) != text) continue;
    EXPECT_EQ(bytes, text) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Reference,
                         testing::Values("gpt2", "gpt2_prefix", "llama3", "qwen2", "llama2", "phi3", "mistral",
                                         "gemma"),
                         [](const auto& param_info) { return std::string(param_info.param); });

TEST(Tokenizer, SpecialTokensAreTextWhereTheCallerSaysSo) {
  const auto tokenizer = fixture_tokenizer("llama3");
  const int32_t eot = *tokenizer->id_of("<|eot|>");
  EXPECT_TRUE(tokenizer->is_special(eot));
  const auto parsed = tokenizer->encode("a<|eot|>", {.add_special = false});
  EXPECT_EQ(parsed.back(), eot);
  const auto plain = tokenizer->encode("a<|eot|>", {.add_special = false, .parse_special = false});
  EXPECT_EQ(std::count(plain.begin(), plain.end(), eot), 0);
  EXPECT_EQ(tokenizer->decode(plain), "a<|eot|>");
  EXPECT_EQ(tokenizer->decode(parsed), "a");
  EXPECT_EQ(tokenizer->decode(parsed, false), "a<|eot|>");
}

TEST(Tokenizer, LongTextsTakeLittleTime) {
  // One word for a SentencePiece model: merging must not be quadratic.
  const auto tokenizer = fixture_tokenizer("llama2");
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "the lord ";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST(Tokenizer, Bytes) {
  const auto tokenizer = byte_tokenizer(0);
  EXPECT_EQ(tokenizer->encode("h\xc3\xa9"), (std::vector<int32_t>{0, 'h', 0xc3, 0xa9}));
  EXPECT_EQ(tokenizer->encode("h", {.add_special = false}), (std::vector<int32_t>{'h'}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("h\xc3\xa9")), "h\xc3\xa9");
  EXPECT_EQ(tokenizer->size(), 256);
}

TEST(Tokenizer, StreamsReplaceWhatMakesNoCharacter) {
  const auto tokenizer = byte_tokenizer();
  const auto decode = [&](std::string_view bytes) { return tokenizer->decode(tokenizer->encode(bytes)); };
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(decode("a\xff"
                   "b"),
            "a" + r + "b");
  EXPECT_EQ(decode("\xe2\x96"), r + r);
  EXPECT_EQ(decode("\xc0\xaf\xed\xa0\x80"), r + r + r + r + r); // overlong, surrogate
  StreamDecoder stream(*tokenizer);
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.push(0x9f), "");
  EXPECT_EQ(stream.push(0x91), "");
  EXPECT_EQ(stream.push(0x8d), "\xf0\x9f\x91\x8d");
  EXPECT_EQ(stream.push(0xe2), "");
  EXPECT_EQ(stream.push('x'), r + "x");
  EXPECT_EQ(stream.push(0xc3), "");
  EXPECT_EQ(stream.finish(), r);
}

TEST(Tokenizer, OpensWhatAModelFolderHolds) {
  const Scratch dir;
  EXPECT_EQ(open_tokenizer(dir.path(), 256, 0)->size(), 256);
  EXPECT_EQ(refusal([&] { open_tokenizer(dir.path(), 32000, 1); }).status(), SPF_NOT_FOUND);
  fs::copy_file(kFixtures / "gpt2.json", dir / "tokenizer.json");
  const int64_t size = open_tokenizer(dir.path(), 100000, 1)->size();
  EXPECT_EQ(open_tokenizer(dir.path(), size, 1)->size(), size);
  const Error e = refusal([&] { open_tokenizer(dir.path(), size - 1, 1); });
  EXPECT_EQ(e.status(), SPF_CORRUPT_DATA);
  EXPECT_EQ(e.field(), "vocabulary");
}

TEST(Tokenizer, NamesWhatItDoesNotServe) {
  const Json good = Json::parse(slurp(kFixtures / "qwen2.json"));
  const auto refused = [&](auto&& change) {
    Json json = good;
    change(json);
    return refusal([&] { parse_tokenizer(json.dump(), "tokenizer.json"); }).field();
  };
  EXPECT_EQ(refused([](Json& j) { j["model"]["type"] = "WordPiece"; }), "model.type");
  EXPECT_EQ(refused([](Json& j) { j.erase("model"); }), "model");
  EXPECT_EQ(refused([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }), "model.end_of_word_suffix");
  EXPECT_EQ(refused([](Json& j) { j["model"]["dropout"] = 0.1; }), "model.dropout");
  EXPECT_EQ(refused([](Json& j) { j["model"]["unk_token"] = "<none>"; }), "model.unk_token");
  EXPECT_EQ(refused([](Json& j) { j["model"]["vocab"]["a"] = -1; }), "model.vocab.a");
  EXPECT_EQ(refused([](Json& j) { j["model"]["vocab"]["a"] = 2000000000; }), "model.vocab");
  EXPECT_EQ(refused([](Json& j) { j["model"]["vocab"]["a"] = j["model"]["vocab"]["b"]; }), "model.vocab");
  EXPECT_EQ(refused([](Json& j) { j["model"]["merges"][0] = "a"; }), "model.merges");
  EXPECT_EQ(refused([](Json& j) { j["model"]["merges"][0] = "a zzzz"; }), "model.merges");
  EXPECT_EQ(refused([](Json& j) { j["normalizer"]["type"] = "Lowercase"; }), "normalizer.type");
  EXPECT_EQ(refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; }),
            "pre_tokenizer.pretokenizers.pattern.Regex");
  EXPECT_EQ(refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }),
            "pre_tokenizer.pretokenizers.behavior");
  EXPECT_EQ(refused([](Json& j) { j["post_processor"]["type"] = "BertProcessing"; }), "post_processor.type");
  EXPECT_EQ(refused([](Json& j) { j["decoder"]["type"] = "WordPiece"; }), "decoder.type");
  EXPECT_EQ(refused([](Json& j) { j["added_tokens"][0]["single_word"] = true; }), "added_tokens[0].single_word");
  EXPECT_EQ(refused([](Json& j) { j["added_tokens"][0]["content"] = "a"; }), "added_tokens[0].id");
}

TEST(Unicode, DecodesOnlyWhatIsWellFormed) {
  for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8 c = utf8_at(text, 0);
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.length, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) ASSERT_EQ(utf8_at(text.substr(0, cut), 0).length, 1u);
  }
}

} // namespace
} // namespace model_test

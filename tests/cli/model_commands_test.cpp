// generate, perplexity, inspect and compare: what they print, and how they refuse bad models, prompts and machines.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "run.hpp"

namespace spf::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kSample = SPF_SOURCE_DIR "/models/sample";
const std::string kText = kSample + "/held_out.txt";
const std::string kLlama = SPF_TEST_DATA "/models/llama";

// A copy of a model's folder, gone with the object.
class Model {
 public:
  explicit Model(const std::string& from) {
    std::string pattern = (fs::temp_directory_path() / "spearfish-cli-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    for (const char* name : {"config.json", "model.safetensors"}) fs::copy_file(fs::path(from) / name, path_ / name);
  }
  ~Model() { fs::remove_all(path_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::string path() const { return path_.string(); }
  std::string read(const char* name) const {
    std::ifstream in(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const char* name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  void configure(const char* key, const Json& value) const {
    Json config = Json::parse(read("config.json"));
    config[key] = value;
    write("config.json", config.dump());
  }
  void remove(const char* name) const { fs::remove(path_ / name); }

 private:
  fs::path path_;
};

Result generate(const std::string& model, std::vector<std::string> more) {
  more.insert(more.begin(), {"generate", model});
  return command(more);
}

Result from_ids(const std::string& model, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--token-ids", "1,17,93", "--max-tokens", "4"});
  return generate(model, more);
}

// One sentence on standard error that holds `part`, nothing on standard output.
void expect_refusal(const Result& r, int code, const std::string& part) {
  EXPECT_EQ(r.code, code) << r.err;
  EXPECT_EQ(r.out, "");
  EXPECT_TRUE(contains(r.err, part)) << r.err;
  EXPECT_EQ(r.err.rfind("spearfish: ", 0), 0u);
  EXPECT_EQ(r.err.find('\n'), r.err.size() - 1) << r.err;
}

// --- generate --------------------------------------------------------------------------------------------------------

TEST(Generate, TextThenATableOfWhatRan) {
  const Result r = generate(kSample, {"--prompt", "It was ", "--max-tokens", "24"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out.rfind("It was ", 0), 0u) << r.out;
  for (const char* part : {"self_attn.q_proj, k_proj, v_proj", "mlp.down_proj", "linear/", "bf16", "prefill  8 tokens",
                           "decode   23 tokens", "of the", "peak "})
    EXPECT_TRUE(contains(r.out, part)) << part << "\nis not in\n" << r.out;
}

TEST(Generate, JsonOfABatch) {
  const std::vector<std::string> args = {"--prompt",      "And ", "--max-tokens", "12", "--batch", "3",
                                         "--temperature", "0.9",  "--seed",       "5",  "--json"};
  const Result r = generate(kSample, args);
  ASSERT_EQ(r.code, 0) << r.err;
  const Json j = json_of(r);
  ASSERT_EQ(j["sequences"].size(), 3u);
  for (const Json& s : j["sequences"]) {
    EXPECT_EQ(s["text"].get<std::string>().empty(), false);
    EXPECT_LE(s["token_ids"].size(), 12u);
  }
  EXPECT_NE(j["sequences"][0]["text"], j["sequences"][1]["text"]);
  EXPECT_GT(j["decode"]["tokens_per_second"].get<double>(), 0);
  EXPECT_GT(j["decode"]["share_of_limit"].get<double>(), 0);
  EXPECT_GE(j["peak_device_bytes"], j["memory"]["weights"]);
  EXPECT_EQ(json_of(generate(kSample, args))["sequences"], j["sequences"]); // the same seed, the same text
}

TEST(Generate, TokenIdsInAndOut) {
  const Result r = from_ids(kLlama, {"--ignore-end"});
  ASSERT_EQ(r.code, 0) << r.err;
  const std::string ids = r.out.substr(0, r.out.find('\n'));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), ','), 3) << ids;
}

TEST(Generate, RoundsToAFormatWhenLoading) {
  const Json j =
      json_of(generate(kSample, {"--prompt", "It ", "--max-tokens", "4", "--format", "int4-g128", "--json"}));
  EXPECT_EQ(j["layers"][0]["format"], "int4-g128");
  EXPECT_EQ(j["layers"].back()["format"], "bf16");
  expect_refused(generate(kSample, {"--prompt", "It ", "--format", "int4-g127"}), 2,
                 "'int4-g127' is not a weight format; did you mean 'int4-g128'?");
}

TEST(Generate, StopsAtTheLastPosition) {
  const Json j = json_of(from_ids(kLlama, {"--context", "5", "--ignore-end", "--json"}));
  EXPECT_EQ(j["sequences"][0]["token_ids"].size(), 3u); // two positions behind the prompt, and one token after them
}

TEST(Generate, RefusesPromptsAndContexts) {
  expect_refusal(generate(kSample, {}), 2, "--prompt or --token-ids");
  expect_refusal(generate(kSample, {"--token-ids", "1,x"}), 2, "--token-ids is 'x'");
  expect_refusal(generate(kSample, {"--token-ids", "256"}), 2, "token id is 256; allowed: 0 to 255");
  expect_refusal(generate(kSample, {"--prompt", "a", "--context", "1025"}), 2, "context is 1025; allowed: 1 to 1024");
  expect_refusal(generate(kSample, {"--prompt", std::string(1000, 'a')}), 2, "context is 1129; allowed: 1 to 1024");
  expect_refusal(generate(kSample, {"--prompt", "abc", "--context", "3"}), 2, "positions is 4; allowed: at most 3");
  expect_refusal(generate(kSample, {"--prompt", "a", "--device", "tpu"}), 2, "'tpu' is no device");
  const Model silent(kSample); // no token stands before a text here, so an empty one has none at all
  silent.configure("bos_token_id", nullptr);
  expect_refusal(generate(silent.path(), {"--prompt", ""}), 2, "--prompt gives no tokens");
  EXPECT_EQ(generate(kSample, {"--prompt", "", "--max-tokens", "2"}).code, 0);
}

TEST(Generate, RefusesBadFiles) {
  expect_refusal(from_ids(kLlama + "/nowhere"), 4, "missing");
  const Model shard(kLlama);
  shard.write("model.safetensors.index.json",
              R"({"weight_map":{"model.norm.weight":"model-00002-of-00002.safetensors"}})");
  expect_refusal(from_ids(shard.path()), 4, "model-00002-of-00002.safetensors");

  const Model nan(kLlama);
  std::string bytes = nan.read("model.safetensors");
  bytes[bytes.size() - 2] = '\xc0';
  bytes[bytes.size() - 1] = '\x7f';
  nan.write("model.safetensors", bytes);
  expect_refusal(from_ids(nan.path()), 4, "is NaN; allowed: finite numbers");

  const Model dtype(kLlama);
  bytes = dtype.read("model.safetensors");
  bytes.replace(bytes.find("\"BF16\""), 6, " \"I16\"");
  dtype.write("model.safetensors", bytes);
  expect_refusal(from_ids(dtype.path()), 4, "dtype is i16");

  const Model vocabulary(kLlama);
  vocabulary.configure("vocab_size", 100);
  expect_refusal(from_ids(vocabulary.path()), 4, "[128, 64]");
  const Model truncated(kLlama);
  truncated.write("model.safetensors", truncated.read("model.safetensors").substr(0, 5000));
  expect_refusal(from_ids(truncated.path()), 4, "model.safetensors");
  const Model other(kLlama);
  other.configure("model_type", "mamba");
  other.configure("architectures", Json::array({"MambaForCausalLM"}));
  expect_refusal(from_ids(other.path()), 4, "mamba");
  expect_refusal(generate(kLlama, {"--prompt", "a"}), 4, "tokenizer.json");
}

TEST(Generate, SaysHowMuchMemoryIsNeeded) {
  expect_refusal(generate(kSample, {"--prompt", "a", "--memory", "4"}), 5, "MiB: weights ");
  expect_refusal(generate(kSample, {"--prompt", "a", "--memory", "4"}), 5, "allowed: at most 4.0 MiB");
}

// --- perplexity ------------------------------------------------------------------------------------------------------

TEST(PerplexityCommand, BitsPerByteWithTheirError) {
  const std::vector<std::string> args = {"perplexity", kSample, "--text", kText, "--limit", "1000", "--act", "f32"};
  const Result text = command(args);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(contains(text.out, " bits per byte (standard error 0.0")) << text.out;
  std::vector<std::string> json = args;
  json.emplace_back("--json");
  const Json j = json_of(command(json));
  EXPECT_EQ(j["bytes"], 1000);
  EXPECT_EQ(j["window"], 1024);
  EXPECT_NEAR(j["bits_per_byte"].get<double>(), 1.35, 0.2);
  expect_refusal(command({"perplexity", kSample, "--text", kSample + "/nothing.txt"}), 4,
                 "nothing.txt: cannot open: No such file or directory");
  expect_refusal(command({"perplexity", kSample, "--text", "/dev/null"}), 2, "/dev/null");
  const Model copy(kSample);
  copy.write("empty.txt", "");
  expect_refusal(command({"perplexity", kSample, "--text", copy.path() + "/empty.txt"}), 2, "is empty");
  expect_refusal(command({"perplexity", kSample, "--text", kText, "--window", "2000"}), 2, "context is 2000");
}

// --- inspect ---------------------------------------------------------------------------------------------------------

TEST(Inspect, SaysWhatAModelHoldsAndTakes) {
  const Result r = command({"inspect", kSample, "--tensors", "--context", "512", "--batch", "4"});
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* part : {"llama: hidden 256", "bf16", "model.layers.6.mlp.up_proj.weight", "[768, 256]", "linear/",
                           "memory for 4 sequences of 512 positions: "})
    EXPECT_TRUE(contains(r.out, part)) << part << "\nis not in\n" << r.out;
  const Json j = json_of(command({"inspect", kSample, "--json"}));
  EXPECT_EQ(j["architecture"], "llama");
  EXPECT_EQ(j["linears"].size(), 50u);
  EXPECT_EQ(j["tensors"].size(), 65u);
  EXPECT_EQ(j["context"], 1024);
  EXPECT_GT(j["memory"]["total"].get<int64_t>(), 11'000'000);
  // Half the positions, half the cache.
  const Json half = json_of(command({"inspect", kSample, "--context", "512", "--json"}));
  EXPECT_EQ(half["memory"]["cache"].get<int64_t>() * 2, j["memory"]["cache"].get<int64_t>());
}

TEST(Inspect, PlansForDevicesThatAreNotHere) {
  const Json j = json_of(command({"inspect", kSample, "--device", "cpu:avx2", "--json"}));
  EXPECT_TRUE(contains(j["plan"][0]["decode"]["kernel"].get<std::string>(), "avx2")) << j["plan"][0];
  expect_refusal(command({"inspect", kSample, "--device", "abacus"}), 2, "'abacus' is not a device; known: cpu, ");
  // Tables name kernels, JSON their instances too.
  const Result far = command({"inspect", kSample, "--device", "h200"});
  EXPECT_TRUE(contains(far.out, "linear/sm90_dense  same\n")) << far.out;
  EXPECT_NE(json_of(command({"inspect", kSample, "--device", "h200", "--json"}))["plan"][0]["decode"]["instance"], "");
  expect_refusal(command({"inspect", kSample + "/config.json"}), 4, "config.json");
}

// --- compare ---------------------------------------------------------------------------------------------------------

TEST(Compare, OneRowAFormatAndAPlot) {
  const Model copy(kSample);
  const std::string svg = copy.path() + "/plots/quality.svg";
  const std::vector<std::string> args = {"compare",      kSample, "--text", kText, "--limit",   "600",
                                         "--max-tokens", "8",     "--svg",  svg,   "--formats", "int8,q2_k"};
  const Result r = command(args);
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* part : {"bits/byte", "int8", "q2_k", "It was a ", "standard error"})
    EXPECT_TRUE(contains(r.out, part)) << part << "\nis not in\n" << r.out;
  std::ifstream in(svg);
  const std::string plot{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(plot.rfind("<svg", 0), 0u);
  EXPECT_TRUE(contains(plot, ">q2_k</text>"));
  std::vector<std::string> again = args;
  again.emplace_back("--json");
  const Json j = json_of(command(again)); // a plot may be drawn anew
  ASSERT_EQ(j["rows"].size(), 3u);
  EXPECT_EQ(j["rows"][0]["loss"], 0.0);
  EXPECT_GT(j["rows"][2]["loss"], j["rows"][1]["loss"]);
  EXPECT_LT(j["rows"][2]["bytes"], j["rows"][1]["bytes"]);
}

TEST(Compare, TheFormatOfTheCheckpointIsMeasuredOnce) {
  const Json j = json_of(command({"compare", kSample, "--text", kText, "--limit", "200", "--max-tokens", "2",
                                  "--formats", "bf16,int8", "--json"}));
  ASSERT_EQ(j["rows"].size(), 2u);
  EXPECT_EQ(j["rows"][1]["format"], "int8");
}

TEST(Compare, EightBitActivations) {
  const Json j = json_of(command({"compare", kSample, "--text", kText, "--limit", "300", "--max-tokens", "2",
                                  "--formats", "int8,int4-g128", "--allow-8bit-activation", "--json"}));
  EXPECT_EQ(j["allow_8bit_activation"], true);
  for (const Json& row : j["rows"]) EXPECT_LT(std::abs(row["loss"].get<double>()), 0.1) << row["format"];
}

// --- what every command refuses
// ---------------------------------------------------------------------------------------

// Damaged or missing models give one sentence and exit code 4, whatever is asked of them.
TEST(EveryModelCommand, RefusesBadModels) {
  const Model truncated(kSample), nan(kSample), config(kSample), shard(kSample);
  truncated.write("model.safetensors", truncated.read("model.safetensors").substr(0, 70000));
  std::string bytes = nan.read("model.safetensors");
  bytes[bytes.size() - 2] = '\xc0';
  bytes[bytes.size() - 1] = '\x7f';
  nan.write("model.safetensors", bytes);
  config.write("config.json", "{\"model_type\": ");
  shard.write("model.safetensors.index.json",
              R"({"weight_map":{"model.norm.weight":"model-00002-of-00002.safetensors"}})");
  const Model gguf(kSample);
  gguf.write("broken.gguf", "GGUF\x03");
  const std::pair<std::string, std::string> models[] = {
      {kSample + "/nowhere", "nowhere"},
      {truncated.path(), "model.safetensors"},
      {config.path(), "config.json"},
      {shard.path(), "model-00002-of-00002.safetensors"},
      {gguf.path() + "/broken.gguf", "broken.gguf"},
      {nan.path(), "is NaN"},
  };
  const fs::path out = fs::path(gguf.path()) / "out";
  for (const auto& [model, part] : models) {
    expect_refusal(generate(model, {"--token-ids", "1"}), 4, part);
    expect_refusal(command({"perplexity", model, "--text", kText}), 4, part);
    expect_refusal(command({"compare", model, "--text", kText}), 4, part);
    expect_refusal(command({"quantize", model, "--format", "int8", "--out", out.string()}), 4, part);
    EXPECT_FALSE(fs::exists(out)) << "half of a checkpoint";
    // Reads no weights, so it has nothing to say of their values.
    if (model != nan.path()) expect_refusal(command({"inspect", model}), 4, part);
  }
  EXPECT_EQ(command({"inspect", nan.path()}).code, 0);
}

TEST(EveryModelCommand, RefusesBadOptions) {
  for (const char* name : {"generate", "perplexity", "compare", "quantize", "inspect"}) {
    EXPECT_EQ(command({name}).code, 2) << name;
    EXPECT_EQ(command({name, kSample, "--no-such-option"}).code, 2) << name;
    const Result help = command({name, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_TRUE(contains(help.out, "Exit codes: 0 success")) << name;
  }
  const std::vector<std::string> compare = {"compare", kSample, "--text", kText};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), compare.begin(), compare.end());
    return command(more);
  };
  expect_refusal(with({"--formats", "int9"}), 2, "'int9' is not a weight format");
  expect_refusal(with({"--device", "abacus"}), 2, "'abacus' is no device");
  EXPECT_EQ(with({"--limit", "0"}).code, 2);
  expect_refusal(command({"compare", kSample, "--text", "/dev/null"}), 2, "/dev/null");
  expect_refusal(command({"compare", kSample, "--text", kSample + "/nothing.txt"}), 4, "nothing.txt");
  expect_refusal(command({"perplexity", kSample, "--text", kText, "--memory", "4"}), 5, "allowed: at most 4.0 MiB");
  expect_refusal(command({"perplexity", kSample, "--text", kText, "--device", "cuda:7x"}), 2, "'cuda:7x' is no device");
  EXPECT_EQ(command({"inspect", kSample, "--context", "100000"}).code, 2);
  expect_refusal(command({"quantize", kSample, "--format", "int8", "--out", "/proc/nothing/here"}), 4, "/proc/nothing");
}

} // namespace
} // namespace spf::test

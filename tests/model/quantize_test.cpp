// Quantized checkpoints: every format of every architecture opens again with the values that it was given.
#include "model/quantize.hpp"

#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "model/checkpoint_writer.hpp"
#include "model/json.hpp"
#include "model/tokenizer.hpp"
#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish;
using namespace spearfish::model;

const fs::path kModels = SPF_TEST_DATA "/models";
const fs::path kSample = SPF_SOURCE_DIR "/models/sample";

std::vector<float> dequantized(const Linear& linear) {
  std::vector<float> values(static_cast<size_t>(linear.weight.n * linear.weight.k));
  EXPECT_EQ(spf_dequantize(&linear.weight, values.data()), SPF_OK) << linear.name;
  return values;
}

QuantizeReport quantized(const fs::path& model, const std::string& format, const fs::path& out,
                         const MomentsOfLayer& moments = nullptr, bool scale_inputs = true) {
  QuantizeOptions options;
  options.format = format;
  options.moments = moments;
  options.scale_inputs = scale_inputs;
  return quantize_checkpoint(Checkpoint::open(model), model, out, options);
}

// The rows of llama's q and k in a GGUF file: pairs (i, i + half) of a head side by side.
std::vector<float> interleaved(const std::vector<float>& w, int64_t head, int64_t k) {
  std::vector<float> out(w.size());
  const int64_t rows = static_cast<int64_t>(w.size()) / k;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t in_head = r % head;
    const int64_t to = r - in_head + (in_head < head / 2 ? 2 * in_head : 2 * (in_head - head / 2) + 1);
    std::copy_n(w.begin() + r * k, k, out.begin() + to * k);
  }
  return out;
}

// What rounding to nearest makes of values, in the scheme that the file says.
std::vector<float> rounded(const std::vector<float>& w, const Linear& in_file) {
  QuantScheme scheme = in_file.weight.scheme;
  return QuantizedWeight::quantize(scheme, in_file.weight.n, in_file.weight.k, w.data()).dequantize();
}

struct Case {
  const char *model, *format;
  const char* patch = "{}"; // of config.json
};

// A fixture, with some fields of its config replaced.
fs::path patched(const Case& c, const Scratch& dir) {
  fs::create_directories(dir / "model");
  fs::copy_file(kModels / c.model / "model.safetensors", dir / "model" / "model.safetensors");
  Json config = Json::parse(slurp(kModels / c.model / "config.json"));
  config.update(Json::parse(c.patch));
  spill(dir / "model" / "config.json", config.dump());
  return dir / "model";
}

class QuantizeCheckpoint : public testing::TestWithParam<Case> {};

TEST_P(QuantizeCheckpoint, OpensWithTheSameValues) {
  const char* format = GetParam().format;
  const Scratch dir;
  const fs::path model = patched(GetParam(), dir);
  const QuantizeReport report = quantized(model, format, dir / "out");
  EXPECT_EQ(dir.entries(), 2u);
  const Checkpoint before = Checkpoint::open(model), after = Checkpoint::open(dir / "out");
  EXPECT_FALSE(report.linears.empty());
  EXPECT_EQ(after.gguf() != nullptr, writes_gguf(format));
  const bool pairs = after.gguf() != nullptr && after.config().architecture == Architecture::kLlama;
  const auto expect_linear = [&](const Linear& a, const Linear& b, bool reorder) {
    std::vector<float> w = dequantized(a);
    if (reorder) w = interleaved(w, before.config().head_dim, a.weight.k);
    const std::vector<float> got = dequantized(b);
    if (b.weight.scheme.has_global_scale) {
      // The global scale is one for all readers of the same inputs. Half of the widest step, 4 to 6, is a sixth of the
      // largest of 16; the scale itself is rounded too.
      for (size_t i = 0; i < got.size(); ++i) {
        float peak = 0;
        for (size_t j = i / 16 * 16; j < i / 16 * 16 + 16; ++j) peak = std::max(peak, std::fabs(w[j]));
        ASSERT_NEAR(got[i], w[i], 0.25f * peak) << a.name << " " << i;
      }
    } else {
      EXPECT_EQ(got, b.weight.scheme.format == SPF_FORMAT_PLAIN ? w : rounded(w, b)) << a.name;
    }
    ASSERT_EQ(a.bias.type == SPF_TYPE_NONE, b.bias.type == SPF_TYPE_NONE) << a.name;
    if (a.bias.type == SPF_TYPE_NONE) return;
    std::vector<float> bias = float_values(a.bias);
    if (reorder) bias = interleaved(bias, before.config().head_dim, 1);
    EXPECT_EQ(float_values(b.bias), bias) << a.name;
  };
  const auto expect_norm = [&](const spf_tensor& a, const spf_tensor& b) {
    ASSERT_EQ(a.type == SPF_TYPE_NONE, b.type == SPF_TYPE_NONE);
    if (a.type == SPF_TYPE_NONE) return;
    const std::vector<float> x = float_values(a), y = float_values(b);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(x[i] + before.config().norm_offset, y[i] + after.config().norm_offset, 1e-6);
  };
  expect_linear(before.embedding(), after.embedding(), false);
  expect_linear(before.lm_head(), after.lm_head(), false);
  expect_norm(before.final_norm(), after.final_norm());
  ASSERT_EQ(before.layers().size(), after.layers().size());
  for (size_t i = 0; i < before.layers().size(); ++i) {
    const DecoderLayer &a = before.layers()[i], &b = after.layers()[i];
    ASSERT_EQ(a.qkv.size(), b.qkv.size());
    for (size_t j = 0; j < a.qkv.size(); ++j) expect_linear(a.qkv[j], b.qkv[j], pairs && j < 2);
    ASSERT_EQ(a.gate_up.size(), b.gate_up.size());
    for (size_t j = 0; j < a.gate_up.size(); ++j) expect_linear(a.gate_up[j], b.gate_up[j], false);
    expect_linear(a.o, b.o, false);
    expect_linear(a.down, b.down, false);
    expect_norm(a.attention_norm, b.attention_norm);
    expect_norm(a.attention_post_norm, b.attention_post_norm);
    expect_norm(a.mlp_norm, b.mlp_norm);
    expect_norm(a.mlp_post_norm, b.mlp_post_norm);
    expect_norm(a.q_norm, b.q_norm);
    expect_norm(a.k_norm, b.k_norm);
  }
  // Equal input, equal bytes.
  quantized(model, format, dir / "again");
  for (const auto& entry : fs::directory_iterator(dir / "out"))
    EXPECT_EQ(slurp(entry.path()), slurp(dir / "again" / entry.path().filename().string())) << entry.path();
}

constexpr const char* kGguf = R"({"query_pre_attn_scalar":16})"; // what readers of a Gemma-2 GGUF take for granted
constexpr const char* kAllSlide =
    R"({"query_pre_attn_scalar":16,"layer_types":["sliding_attention","sliding_attention"]})";
constexpr const char* kNoWindow = R"({"layer_types":["full_attention","full_attention"],"use_sliding_window":false})";

INSTANTIATE_TEST_SUITE_P(
    All, QuantizeCheckpoint,
    testing::Values(Case{"llama", "int4-g32-asym"}, Case{"llama", "int4-g64"}, Case{"llama", "int4-channel"},
                    Case{"llama", "int8"}, Case{"llama", "fp8"}, Case{"llama", "fp8-channel"},
                    Case{"llama", "fp8-block"}, Case{"llama", "nvfp4"}, Case{"llama", "mxfp4"}, Case{"llama", "q4_0"},
                    Case{"llama", "q8_0"}, Case{"llama", "q4_k"}, Case{"llama", "q6_k"}, Case{"llama_linear", "q8_0"},
                    Case{"mistral", "int4-g32"}, Case{"mistral", "q4_0"}, Case{"qwen2", "int8"},
                    Case{"qwen2", "q4_1", kNoWindow}, Case{"qwen3", "mxfp4"}, Case{"qwen3", "q5_0"},
                    Case{"phi3", "int4-g32"}, Case{"phi3", "q8_0"}, Case{"gemma2", "fp8-channel"},
                    Case{"gemma2", "q8_0", kGguf}, Case{"gemma3", "int4-g32"}, Case{"gemma3", "q8_0", kAllSlide}),
    [](const auto& param_info) {
      std::string name = std::string(param_info.param.model) + "_" + param_info.param.format;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

// --- what the files say ----------------------------------------------------------------------------------------------

TEST(QuantizeCheckpoint, ConfigSaysWhatWasDone) {
  struct Expected {
    const char *format, *layout, *type, *strategy;
    int bits;
    Json group;
    bool symmetric;
  };
  for (const Expected& e : {Expected{"int4-g128", "pack-quantized", "int", "group", 4, 128, true},
                            Expected{"int4-g32-asym", "pack-quantized", "int", "group", 4, 32, false},
                            Expected{"int8", "pack-quantized", "int", "channel", 8, nullptr, true},
                            Expected{"fp8", "float-quantized", "float", "tensor", 8, nullptr, true},
                            Expected{"fp8-channel", "float-quantized", "float", "channel", 8, nullptr, true},
                            Expected{"fp8-block", "float-quantized", "float", "block", 8, nullptr, true},
                            Expected{"nvfp4", "nvfp4-pack-quantized", "float", "tensor_group", 4, 16, true},
                            Expected{"mxfp4", "mxfp4-pack-quantized", "float", "group", 4, 32, true}}) {
    const Scratch dir;
    quantized(kSample, e.format, dir / "out");
    const Json config = Json::parse(slurp(dir / "out" / "config.json"));
    const Json& q = config.at("quantization_config");
    EXPECT_EQ(q.at("quant_method"), "compressed-tensors");
    EXPECT_EQ(q.at("format"), e.layout);
    EXPECT_EQ(q.at("ignore"), Json::array({"lm_head"}));
    const Json& group = q.at("config_groups").at("group_0");
    EXPECT_EQ(group.at("targets"), Json::array({"Linear"}));
    const Json& weights = group.at("weights");
    EXPECT_EQ(weights.at("num_bits"), e.bits) << e.format;
    EXPECT_EQ(weights.at("type"), e.type);
    EXPECT_EQ(weights.at("strategy"), e.strategy) << e.format;
    EXPECT_EQ(weights.at("group_size"), e.group) << e.format;
    EXPECT_EQ(weights.at("symmetric"), e.symmetric);
    EXPECT_EQ(config.at("hidden_size"), 256); // and all that was there before
    const Checkpoint c = Checkpoint::open(dir / "out");
    EXPECT_EQ(c.layers()[0].o.weight.scheme.weight, quant_scheme(e.format).weight);
    EXPECT_EQ(c.layers()[0].o.weight.scheme.group_k, quant_scheme(e.format).group_k);
    EXPECT_EQ(c.layers()[0].o.weight.scheme.group_n, quant_scheme(e.format).group_n);
    const TensorEntry* shape = c.tensors().find("model.layers.0.mlp.down_proj.weight_shape");
    if (std::string(e.type) == "int") {
      ASSERT_NE(shape, nullptr);
      const int64_t expected[] = {256, 768};
      EXPECT_EQ(std::memcmp(shape->bytes.data(), expected, sizeof expected), 0);
    }
  }
}

TEST(QuantizeCheckpoint, LayersThatDoNotFitStayPlain) {
  const Scratch dir;
  const QuantizeReport report = quantized(kModels / "llama", "int4-g128", dir / "out"); // K is 64 but for down: 128
  EXPECT_EQ(report.linears.size(), 2u);
  EXPECT_EQ(report.plain.size(), 13u);
  const Json config = Json::parse(slurp(dir / "out" / "config.json"));
  EXPECT_EQ(config["quantization_config"]["ignore"].size(), 13u);
  const Checkpoint c = Checkpoint::open(dir / "out");
  EXPECT_EQ(c.layers()[1].o.weight.scheme.format, SPF_FORMAT_PLAIN);
  EXPECT_EQ(c.layers()[1].down.weight.scheme.format, SPF_FORMAT_CT_INT);
}

TEST(QuantizeCheckpoint, GgufOfTheSampleModel) {
  const Scratch dir;
  quantized(kSample, "q4_k", dir / "out");
  const Gguf file = Gguf::open(dir / "out" / "model.gguf");
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.integer("general.file_type", 0, 100), 14);
  EXPECT_EQ(file.integer("llama.block_count", 0, 100), 7);
  EXPECT_EQ(file.tensors().find("token_embd.weight")->dtype, Dtype::kQ6_K); // it is the output layer too
  EXPECT_EQ(file.tensors().find("blk.0.ffn_down.weight")->dtype, Dtype::kQ4_K);
  EXPECT_EQ(file.tensors().find("output.weight"), nullptr);
  // A token is a byte, in GPT-2's spelling.
  EXPECT_EQ(file.string("tokenizer.ggml.model"), "gpt2");
  const GgufArray& tokens = *file.array("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.strings.size(), 256u);
  EXPECT_EQ(tokens.strings['A'], "A");
  EXPECT_EQ(tokens.strings[' '], "\xc4\xa0"); // U+0120
  EXPECT_EQ(tokens.strings[0], "\xc4\x80");   // U+0100
  EXPECT_EQ(file.array("tokenizer.ggml.merges")->count, 0u);
  EXPECT_EQ(file.integer("tokenizer.ggml.bos_token_id", 0, 255), 0);
  EXPECT_TRUE(file.boolean("tokenizer.ggml.add_bos_token", false));
}

// tokenizer.json of both kinds becomes lists by id.
TEST(QuantizeCheckpoint, GgufTokenizers) {
  for (const char* name : {"gpt2.json", "llama3.json", "qwen2.json", "llama2.json", "gemma.json"}) {
    const fs::path json = fs::path(SPF_TEST_DATA "/tokenizers") / name;
    const auto tokenizer = parse_tokenizer(slurp(json), name);
    const Scratch dir;
    // A model with as many rows, two more than that.
    const int64_t vocab = tokenizer->size() + 2;
    fs::create_directories(dir / "model");
    fs::copy_file(json, dir / "model" / "tokenizer.json");
    Json config = Json::parse(slurp(kModels / "llama" / "config.json"));
    config["vocab_size"] = vocab;
    spill(dir / "model" / "config.json", config.dump());
    const TensorSet set = TensorSet::open_safetensors(kModels / "llama" / "model.safetensors");
    std::vector<TensorSpec> specs;
    for (const TensorEntry& t : set.tensors()) {
      TensorSpec spec = {t.name, t.dtype, t.shape};
      if (t.shape[0] == 128 && (t.name == "model.embed_tokens.weight" || t.name == "lm_head.weight"))
        spec.shape[0] = vocab;
      specs.push_back(spec);
    }
    SafetensorsWriter writer(dir / "model" / "model.safetensors", specs);
    for (const TensorSpec& s : specs) {
      std::string bytes(*tensor_bytes(s.dtype, s.shape), '\0');
      writer.write(s.name, bytes_of(bytes));
    }
    writer.finish();
    quantized(dir / "model", "q8_0", dir / "out");
    EXPECT_TRUE(fs::exists(dir / "out" / "tokenizer.json"));
    const Gguf file = Gguf::open(dir / "out" / "model.gguf");
    const GgufArray& tokens = *file.array("tokenizer.ggml.tokens");
    const GgufArray& types = *file.array("tokenizer.ggml.token_type");
    ASSERT_EQ(tokens.count, static_cast<uint64_t>(vocab)) << name;
    ASSERT_EQ(types.count, static_cast<uint64_t>(vocab));
    for (int32_t id = 0; id < tokenizer->size(); ++id) {
      const std::string_view token = tokens.strings[static_cast<size_t>(id)];
      if (types.integer(static_cast<uint64_t>(id)) == 5) continue;
      EXPECT_EQ(tokenizer->id_of(token), id) << name << " " << token;
    }
    EXPECT_EQ(types.integer(static_cast<uint64_t>(vocab - 1)), 5); // a row without a token
    const bool sentence_piece = std::string(name) == "llama2.json" || std::string(name) == "gemma.json";
    EXPECT_EQ(file.string("tokenizer.ggml.model"), sentence_piece ? "llama" : "gpt2") << name;
    EXPECT_EQ(file.has("tokenizer.ggml.scores"), sentence_piece);
    EXPECT_EQ(file.has("tokenizer.ggml.merges"), !sentence_piece);
    const std::map<std::string, std::string> pre = {
        {"gpt2.json", "gpt-2"}, {"llama3.json", "llama-bpe"}, {"qwen2.json", "qwen2"}};
    if (sentence_piece) {
      EXPECT_EQ(file.boolean("tokenizer.ggml.add_space_prefix", true), std::string(name) == "llama2.json");
    } else {
      EXPECT_EQ(file.string("tokenizer.ggml.pre"), pre.at(name));
    }
  }
}

// --- calibrated ------------------------------------------------------------------------------------------------------

// Inputs of a layer that depend on each other, with a few loud channels.
struct MadeUpMoments {
  std::map<int64_t, InputMoments> by_k;
  const InputMoments* of(int64_t k) {
    const auto found = by_k.find(k);
    if (found != by_k.end()) return &found->second;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(400 * k));
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = normal(random) * (i % 16 == 5 ? 20.0f : 1.0f) + (i % static_cast<size_t>(k) > 0 ? 0.5f * x[i - 1] : 0.0f);
    InputMoments moments(k);
    moments.add(x.data(), 400, k);
    return &by_k.emplace(k, std::move(moments)).first->second;
  }
  MomentsOfLayer source(const ModelConfig& m) {
    const int64_t o = m.heads * m.head_dim, hidden = m.hidden, inner = m.intermediate;
    return [this, o, hidden, inner](size_t) -> LayerMoments { return {of(hidden), of(o), of(hidden), of(inner)}; };
  }
};

// Scales that go into one linear come out of what stands before it: the products that outputs depend on stay.
TEST(QuantizeCheckpoint, FoldedScalesCancel) {
  bool any = false;
  for (const char* model : {"mistral", "gemma2", "qwen3"})
    for (const char* format : {"int8", "q8_0"}) {
      const Scratch dir;
      const fs::path path = patched({model, format, kGguf}, dir);
      const Checkpoint before = Checkpoint::open(path);
      MadeUpMoments moments;
      const QuantizeReport report = quantized(path, format, dir / "out", moments.source(before.config()));
      const bool scaled = std::any_of(report.linears.begin(), report.linears.end(),
                                      [](const QuantizedLinear& l) { return l.method.starts_with("awq"); });
      any |= scaled;
      const Checkpoint after = Checkpoint::open(dir / "out");
      const auto norm = [](const spf_tensor& t, double offset) {
        std::vector<float> values = float_values(t);
        for (float& v : values) v = static_cast<float>(v + offset);
        return values;
      };
      // Relative to the largest of a row: int8 keeps about a hundredth of that.
      const auto expect_near = [&](const std::vector<float>& a, const std::vector<float>& b, int64_t k,
                                   const std::string& what) {
        for (size_t row = 0; row < a.size() / static_cast<size_t>(k); ++row) {
          double peak = 0, difference = 0;
          for (size_t c = row * static_cast<size_t>(k); c < (row + 1) * static_cast<size_t>(k); ++c) {
            peak = std::max<double>(peak, std::fabs(a[c]));
            difference = std::max<double>(difference, std::fabs(a[c] - b[c]));
          }
          ASSERT_LE(difference, 0.2 * peak) << model << " " << format << " " << what << " row " << row;
        }
      };
      const auto columns = [](std::vector<float> w, const std::vector<float>& by) {
        for (size_t i = 0; i < w.size(); ++i) w[i] *= by[i % by.size()];
        return w;
      };
      const ModelConfig& m = before.config();
      for (size_t i = 0; i < before.layers().size(); ++i) {
        const DecoderLayer &a = before.layers()[i], &b = after.layers()[i];
        const std::vector<float> up_a = dequantized(a.gate_up[1]), up_b = dequantized(b.gate_up[1]);
        const std::vector<float> gate_a = columns(dequantized(a.gate_up[0]), norm(a.mlp_norm, m.norm_offset));
        const std::vector<float> gate_b =
            columns(dequantized(b.gate_up[0]), norm(b.mlp_norm, after.config().norm_offset));
        expect_near(gate_a, gate_b, a.gate_up[0].weight.k, "gate");
        // down's column c times up's row c, by the row's sum of squares.
        std::vector<float> size_a, size_b;
        const auto sizes = [&](const std::vector<float>& up, const std::vector<float>& norms) {
          std::vector<float> out;
          const size_t k = norms.size();
          for (size_t row = 0; row < up.size() / k; ++row) {
            double sum = 0;
            for (size_t c = 0; c < k; ++c) sum += std::pow(static_cast<double>(up[row * k + c]) * norms[c], 2);
            out.push_back(static_cast<float>(std::sqrt(sum)));
          }
          return out;
        };
        size_a = sizes(up_a, norm(a.mlp_norm, m.norm_offset));
        size_b = sizes(up_b, norm(b.mlp_norm, after.config().norm_offset));
        expect_near(columns(dequantized(a.down), size_a), columns(dequantized(b.down), size_b), a.down.weight.k,
                    "down");
      }
    }
}

TEST(QuantizeCheckpoint, CalibratedIsBetterLayerByLayer) {
  const Checkpoint before = Checkpoint::open(kModels / "mistral");
  MadeUpMoments moments;
  for (const char* format : {"int4-g32", "int4-g32-asym", "nvfp4", "mxfp4", "fp8-channel", "q4_0"}) {
    const Scratch dir;
    const QuantizeReport report =
        quantized(kModels / "mistral", format, dir / "out", moments.source(before.config()), false);
    double nearest = 0, best = 0;
    for (const QuantizedLinear& row : report.linears) {
      EXPECT_LE(row.error, row.nearest_error) << row.name;
      nearest += row.nearest_error;
      best += row.error;
    }
    // Blocks are corrected as a whole, and these rows are but a few of them.
    EXPECT_LT(best, (writes_gguf(format) ? 0.99 : 0.9) * nearest) << format;
    const QuantizeReport again =
        quantized(kModels / "mistral", format, dir / "again", moments.source(before.config()), false);
    for (const auto& entry : fs::directory_iterator(dir / "out"))
      EXPECT_EQ(slurp(entry.path()), slurp(dir / "again" / entry.path().filename().string())) << entry.path();
  }
}

// --- refusals --------------------------------------------------------------------------------------------------------

TEST(QuantizeCheckpoint, RefusesByName) {
  const Scratch dir;
  Error e = refusal([&] { quantized(kSample, "int5", dir / "out"); });
  EXPECT_EQ(e.status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(e.field(), "format");
  EXPECT_NE(e.allowed().find("q6_k"), std::string::npos);

  quantized(kModels / "llama", "int8", dir / "int8");
  e = refusal([&] { quantized(kModels / "llama", "int8", dir / "int8"); });
  EXPECT_EQ(e.status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(e.field(), "output folder");
  e = refusal([&] { quantized(dir / "int8", "int8", dir / "twice"); });
  EXPECT_EQ(e.status(), SPF_UNSUPPORTED);
  EXPECT_EQ(e.value(), "quantized already");
  e = refusal([&] { quantized(dir / "int8", "q4_0", dir / "twice"); });
  EXPECT_EQ(e.value(), "quantized already");

  quantized(kModels / "llama", "q8_0", dir / "gguf");
  e = refusal([&] { quantized(dir / "gguf", "int8", dir / "twice"); });
  EXPECT_EQ(e.status(), SPF_UNSUPPORTED);
  EXPECT_EQ(e.value(), "GGUF");

  // These fixtures slide on other layers, or scale by another number, than every GGUF reader takes for granted.
  for (const auto& [model, field] : {std::pair("gemma3", "sliding window"), std::pair("qwen2", "sliding window"),
                                     std::pair("gemma2", "attention scale")}) {
    e = refusal([&] { quantized(kModels / model, "q8_0", dir / "unsaid"); });
    EXPECT_EQ(e.status(), SPF_UNSUPPORTED);
    EXPECT_EQ(e.field(), field) << model;
    EXPECT_FALSE(fs::exists(dir / "unsaid"));
  }
  EXPECT_EQ(dir.entries(), 2u) << "something half-done was left";
}

TEST(QuantizeCheckpoint, StopsWhereProgressThrows) {
  const Scratch dir;
  QuantizeOptions options;
  options.format = "int8";
  size_t calls = 0, of = 0;
  options.progress = [&](size_t done, size_t total, std::string_view) {
    EXPECT_EQ(done, calls);
    of = total;
    if (++calls == 6) throw std::runtime_error("enough");
  };
  EXPECT_THROW(quantize_checkpoint(Checkpoint::open(kSample), kSample, dir / "out", options), std::runtime_error);
  EXPECT_EQ(of, 49u);
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(QuantizeCheckpoint, NamesWeightsThatAreNoNumbers) {
  const Scratch dir;
  fs::create_directories(dir / "model");
  fs::copy_file(kModels / "llama" / "config.json", dir / "model" / "config.json");
  const TensorSet set = TensorSet::open_safetensors(kModels / "llama" / "model.safetensors");
  std::vector<TensorSpec> specs;
  for (const TensorEntry& t : set.tensors()) specs.push_back({t.name, t.dtype, t.shape});
  SafetensorsWriter writer(dir / "model" / "model.safetensors", specs);
  for (const TensorEntry& t : set.tensors()) {
    std::vector<std::byte> bytes(t.bytes.begin(), t.bytes.end());
    const uint16_t nan = 0x7fc0;
    if (t.name == "model.layers.1.self_attn.o_proj.weight") std::memcpy(bytes.data() + 2 * 99, &nan, 2);
    writer.write(t.name, bytes);
  }
  writer.finish();
  const Error e = refusal([&] { quantized(dir / "model", "int8", dir / "out"); });
  EXPECT_EQ(e.status(), SPF_CORRUPT_DATA);
  EXPECT_EQ(e.field(), "model.layers.1.self_attn.o_proj.weight[99]");
  EXPECT_EQ(dir.entries(), 1u);
}

} // namespace
} // namespace model_test

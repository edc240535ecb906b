// Checkpoints of every architecture and scheme: found by place, equal in value, refused by name.
#include "model/checkpoint.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/json.hpp"
#include "model/runner.hpp"
#include "spearfish/spearfish.hpp"
#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish::model;

const fs::path kModels = SPF_TEST_DATA "/models";

std::vector<float> dequantized(const Linear& linear) {
  std::vector<float> values(static_cast<size_t>(linear.weight.n * linear.weight.k));
  EXPECT_EQ(spf_dequantize(&linear.weight, values.data()), SPF_OK) << linear.name;
  return values;
}

class Fixture : public testing::TestWithParam<const char*> {};

TEST_P(Fixture, HasEveryWeightInItsPlace) {
  const Checkpoint c = Checkpoint::open(kModels / GetParam());
  const ModelConfig& m = c.config();
  EXPECT_EQ(c.layers().size(), 2u);
  EXPECT_EQ(c.embedding().weight.n, 128);
  EXPECT_EQ(c.embedding().weight.scheme.weight, SPF_BF16);
  c.check_finite();
  const bool fused = std::string(GetParam()) == "phi3";
  for (const DecoderLayer& layer : c.layers()) {
    EXPECT_EQ(layer.qkv.size(), fused ? 1u : 3u);
    EXPECT_EQ(layer.gate_up.size(), fused ? 1u : 2u);
    EXPECT_EQ(layer.qkv[0].weight.n, fused ? 128 : 64);
    EXPECT_EQ(layer.down.weight.k, 128);
    EXPECT_EQ(layer.qkv[0].bias.type != SPF_TYPE_NONE, m.q_bias);
    EXPECT_EQ(layer.o.bias.type != SPF_TYPE_NONE, m.o_bias);
    EXPECT_EQ(layer.down.bias.type != SPF_TYPE_NONE, m.mlp_bias);
    EXPECT_EQ(layer.q_norm.type != SPF_TYPE_NONE, m.qk_norm);
    EXPECT_EQ(layer.mlp_post_norm.type != SPF_TYPE_NONE, m.norms == NormPlacement::kSandwich);
  }
  EXPECT_EQ(c.linears().size(), fused ? 9u : 15u);
  EXPECT_EQ(c.lm_head().weight.codes.data == c.embedding().weight.codes.data, m.tied_embeddings);
  for (const Linear* linear : c.linears())
    for (const float v : dequantized(*linear)) ASSERT_TRUE(std::isfinite(v));
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, Fixture,
                         testing::Values("llama", "llama_linear", "mistral", "qwen2", "qwen3", "phi3", "gemma2",
                                         "gemma3"),
                         [](const auto& param_info) { return std::string(param_info.param); });

TEST(Checkpoint, TheSampleModel) {
  const Checkpoint c = Checkpoint::open(SPF_SOURCE_DIR "/models/sample");
  EXPECT_EQ(c.linears().size(), 50u);
  EXPECT_EQ(c.lm_head().weight.n, 256);
  c.check_finite();
}

// A copy of a fixture whose tensors may be replaced.
struct Copy {
  explicit Copy(const char* name) : from(kModels / name), set(TensorSet::open_safetensors(from / "model.safetensors")) {
    config = Json::parse(slurp(from / "config.json"));
    for (const TensorEntry& t : set.tensors()) put(t.name, t.dtype, t.shape, t.bytes);
  }
  void put(const std::string& name, Dtype dtype, const std::vector<int64_t>& shape, Bytes bytes) {
    tensors[name] = {{name, dtype, shape}, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
  }
  void write(const fs::path& folder) const {
    fs::create_directories(folder);
    spill(folder / "config.json", config.dump());
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tensors) specs.push_back(tensor.first);
    SafetensorsWriter writer(folder / "model.safetensors", specs);
    for (const auto& [name, tensor] : tensors) writer.write(name, bytes_of(tensor.second));
    writer.finish();
  }
  Error refused() const {
    const Scratch dir;
    write(dir.path());
    return refusal([&] { Checkpoint::open(dir.path()); });
  }

  fs::path from;
  TensorSet set;
  Json config;
  std::map<std::string, std::pair<TensorSpec, std::string>> tensors;
};

constexpr const char* kUp = "model.layers.1.mlp.up_proj";

TEST(Checkpoint, NamesWhatIsMissingOrWrong) {
  Copy missing("qwen3");
  missing.tensors.erase("model.layers.1.self_attn.k_norm.weight");
  Error e = missing.refused();
  EXPECT_EQ(e.status(), SPF_NOT_FOUND);
  EXPECT_EQ(e.field(), "model.layers.1.self_attn.k_norm.weight");

  Copy shape("llama");
  shape.put(std::string(kUp) + ".weight", Dtype::kBF16, {64, 128}, bytes_of(std::string(64 * 128 * 2, '\0')));
  e = shape.refused();
  EXPECT_EQ(e.field(), std::string(kUp) + ".weight.shape");
  EXPECT_EQ(e.value(), "[64, 128]");

  Copy dtype("llama");
  dtype.put(std::string(kUp) + ".weight", Dtype::kI32, {128, 64}, bytes_of(std::string(64 * 128 * 4, '\0')));
  EXPECT_EQ(dtype.refused().field(), std::string(kUp) + ".weight.dtype");

  Copy vocabulary("llama");
  vocabulary.config["vocab_size"] = 100;
  e = vocabulary.refused();
  EXPECT_EQ(e.field(), "model.embed_tokens.weight.shape");
  EXPECT_NE(e.allowed().find("[100, 64]"), std::string::npos);

  const Scratch dir;
  EXPECT_EQ(refusal([&] { Checkpoint::open(dir.path()); }).field(), "weights");
  EXPECT_EQ(refusal([&] { Checkpoint::open(dir / "nothing"); }).status(), SPF_NOT_FOUND);
  fs::copy_file(kModels / "llama" / "model.safetensors", dir / "model.safetensors");
  EXPECT_EQ(refusal([&] { Checkpoint::open(dir.path()); }).status(), SPF_NOT_FOUND); // no config.json
}

TEST(Checkpoint, FindsTheFirstNumberThatIsNone) {
  Copy copy("llama");
  const uint16_t nan = 0x7fc0, infinity = 0xff80;
  std::memcpy(copy.tensors["model.layers.0.mlp.down_proj.weight"].second.data() + 2 * 777, &nan, 2);
  std::memcpy(copy.tensors["model.layers.0.mlp.down_proj.weight"].second.data() + 2 * 778, &infinity, 2);
  const Scratch dir;
  copy.write(dir.path());
  const Checkpoint c = Checkpoint::open(dir.path());
  const Error e = refusal([&] { c.check_finite(); });
  EXPECT_EQ(e.field(), "model.layers.0.mlp.down_proj.weight[777]");
  EXPECT_EQ(e.value(), "NaN");
}

// --- quantized -------------------------------------------------------------------------------------------------------

struct Case {
  const char* scheme;       // what spf_quantize makes
  const char* quantization; // the config that says so
};

Dtype dtype_of(spf_scalar_type type) {
  for (int i = 0; i < kDtypeCount; ++i)
    if (dtype_info(static_cast<Dtype>(i)).scalar == type && type != SPF_TYPE_NONE) return static_cast<Dtype>(i);
  ADD_FAILURE() << "no dtype for scalar type " << type;
  return Dtype::kF32;
}

class Quantized : public testing::TestWithParam<Case> {};

std::string ct(const char* format, const std::string& weights) {
  return std::string(R"({"quant_method":"compressed-tensors","ignore":["lm_head"],"format":")") + format +
         R"(","config_groups":{"group_0":{"targets":["Linear"],"weights":)" + weights + "}}}";
}

// Every linear layer of a fixture quantized, written as other tools write it, opened, and compared value by value.
TEST_P(Quantized, ReadsBackTheSameValues) {
  spf_quant_scheme scheme = {};
  scheme.struct_size = sizeof scheme;
  ASSERT_EQ(spf_quant_scheme_by_name(GetParam().scheme, &scheme), SPF_OK);
  Copy copy("llama");
  copy.config["quantization_config"] = Json::parse(GetParam().quantization);
  const bool weight_named = scheme.format == SPF_FORMAT_FP8;
  const bool inverse =
      std::string(GetParam().quantization).find("\"fp8\"") != std::string::npos && scheme.group_n == 128;
  std::map<std::string, std::vector<float>> expected;
  const Checkpoint original = Checkpoint::open(kModels / "llama");
  for (const Linear* linear : original.linears()) {
    if (linear->name == "lm_head") continue;
    const std::vector<float> values = dequantized(*linear);
    size_t bytes = 0;
    ASSERT_EQ(spf_quantize_size(&scheme, linear->weight.n, linear->weight.k, &bytes), SPF_OK);
    std::vector<double> memory(bytes / 8 + 16);
    void* aligned = memory.data();
    size_t room = memory.size() * 8;
    ASSERT_NE(std::align(64, bytes, aligned, room), nullptr);
    spf_quantized_weight q = {};
    q.struct_size = sizeof q;
    ASSERT_EQ(spf_quantize(&scheme, linear->weight.n, linear->weight.k, values.data(), aligned, bytes, &q), SPF_OK);
    std::vector<float>& exact = expected[linear->name];
    exact.resize(values.size());
    ASSERT_EQ(spf_dequantize(&q, exact.data()), SPF_OK);
    const auto put = [&](const char* suffix, const spf_tensor& t) {
      int64_t extent = 0;
      ASSERT_EQ(spf_tensor_extent_bytes(&t, &extent), SPF_OK);
      copy.put(linear->name + suffix, dtype_of(t.type), std::vector<int64_t>(t.shape, t.shape + t.rank),
               Bytes(static_cast<const std::byte*>(t.data), static_cast<size_t>(extent)));
    };
    copy.tensors.erase(linear->name + ".weight");
    put(weight_named ? ".weight" : ".weight_packed", q.codes);
    put(inverse ? ".weight_scale_inv" : ".weight_scale", q.scales);
    if (q.zeros.type != SPF_TYPE_NONE) put(".weight_zero_point", q.zeros);
    if (q.global_scale.type != SPF_TYPE_NONE) {
      *static_cast<float*>(q.global_scale.data) = 1 / *static_cast<const float*>(q.global_scale.data);
      put(".weight_global_scale", q.global_scale);
    }
  }
  const Scratch dir;
  copy.write(dir.path());
  const Checkpoint c = Checkpoint::open(dir.path());
  EXPECT_EQ(c.lm_head().weight.scheme.format, SPF_FORMAT_PLAIN);
  size_t compared = 0;
  for (const Linear* linear : c.linears()) {
    if (linear->name == "lm_head") continue;
    EXPECT_EQ(linear->weight.scheme.format, scheme.format) << linear->name;
    const std::vector<float> values = dequantized(*linear);
    const std::vector<float>& exact = expected.at(linear->name);
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], exact[i], std::fabs(exact[i]) * (scheme.has_global_scale ? 4e-7 : 0))
          << linear->name << " " << i;
    ++compared;
  }
  EXPECT_EQ(compared, 14u);
}

const std::string kInt = R"("type":"int","strategy":"group","group_size":32)";
const std::string kInt4 = ct("pack-quantized", R"({"num_bits":4,)" + kInt + "}");
const std::string kInt4Asym = ct("pack-quantized", R"({"num_bits":4,"symmetric":false,)" + kInt + "}");
const std::string kInt8 = ct("pack-quantized", R"({"num_bits":8,"type":"int","strategy":"channel"})");
const std::string kFp8 = ct("float-quantized", R"({"num_bits":8,"type":"float","strategy":"tensor"})");
const std::string kFp8Channel = ct("float-quantized", R"({"num_bits":8,"type":"float","strategy":"channel"})");
const std::string kFp8Block = ct("float-quantized", R"({"num_bits":8,"type":"float","strategy":"block",)"
                                                    R"("block_structure":[128,128]})");
const std::string kNvfp4 =
    ct("nvfp4-pack-quantized", R"({"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16})");
const std::string kMxfp4 =
    ct("mxfp4-pack-quantized", R"({"num_bits":4,"type":"float","strategy":"group","group_size":32})");
INSTANTIATE_TEST_SUITE_P(Checkpoint, Quantized,
                         testing::Values(Case{"int4-g32", kInt4.c_str()}, Case{"int4-g32-asym", kInt4Asym.c_str()},
                                         Case{"int8", kInt8.c_str()}, Case{"fp8", kFp8.c_str()},
                                         Case{"fp8-channel", kFp8Channel.c_str()},
                                         Case{"fp8-block", R"({"quant_method":"fp8","weight_block_size":[128,128]})"},
                                         Case{"nvfp4", kNvfp4.c_str()}, Case{"mxfp4", kMxfp4.c_str()},
                                         Case{"fp8-block", kFp8Block.c_str()},
                                         Case{"fp8", R"({"quant_method":"fp8","activation_scheme":"dynamic"})"},
                                         Case{"mxfp4", R"({"quant_method":"mxfp4"})"}),
                         [](const auto& param_info) {
                           const Json config = Json::parse(param_info.param.quantization);
                           std::string name = std::string(param_info.param.scheme) + "_of_" +
                                              config.at("quant_method").template get<std::string>();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// 2:4 sparse weights come as two elements of four and a mask of their places; the sample is made here, bit by bit.
TEST(Checkpoint, SparseWeightsAreTheDenseOnes) {
  constexpr int64_t kN = 128, kK = 64;
  const std::string sparsity = R"("sparsity_config":{"format":"sparse-24-bitmask","sparsity_structure":"2:4",)"
                               R"("targets":["Linear"],"ignore":["lm_head"],"global_sparsity":0.5})";
  const std::string plain = R"({"quant_method":"compressed-tensors",)" + sparsity + "}";
  const std::string int8 =
      R"({"quant_method":"compressed-tensors","format":"int-quantized","config_groups":{"group_0":)"
      R"({"targets":["Linear"],"weights":{"num_bits":8,"type":"int","strategy":"channel"}}},)" +
      sparsity + "}";
  const auto places = [](int64_t n, int64_t four) { // which two of four columns
    static constexpr int kPairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
    return kPairs[(n + 3 * four) % 6];
  };
  std::vector<uint8_t> mask(kN * kK / 8);
  std::vector<int8_t> codes(kN * kK / 2);
  std::vector<uint16_t> halves(codes.size());
  std::vector<float> dense(kN * kK);
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t four = 0; four < kK / 4; ++four)
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t k = four * 4 + places(n, four)[j], at = n * kK / 2 + four * 2 + j;
        const int value = static_cast<int>((n * 7 + k * 5) % 15) - 7; // 0 too: a place may hold one
        mask[static_cast<size_t>((n * kK + k) / 8)] |= static_cast<uint8_t>(1 << k % 8);
        codes[static_cast<size_t>(at)] = static_cast<int8_t>(value);
        halves[static_cast<size_t>(at)] =
            static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16);
        dense[static_cast<size_t>(n * kK + k)] = static_cast<float>(value);
      }
  const int64_t shape[] = {kN, kK};
  const std::vector<float> scales(kN, 0.5f);
  const auto make = [&](bool quantized) {
    Copy copy("llama_linear");
    copy.config["quantization_config"] = Json::parse(quantized ? int8 : plain);
    copy.tensors.erase(std::string(kUp) + ".weight");
    copy.put(std::string(kUp) + ".bitmask", Dtype::kU8, {kN, kK / 8}, std::as_bytes(std::span(mask)));
    copy.put(std::string(kUp) + ".shape", Dtype::kI64, {2, 1}, std::as_bytes(std::span(shape)));
    if (quantized) {
      copy.put(std::string(kUp) + ".compressed", Dtype::kI8, {kN, kK / 2}, std::as_bytes(std::span(codes)));
      copy.put(std::string(kUp) + ".weight_scale", Dtype::kF32, {kN, 1}, std::as_bytes(std::span(scales)));
    } else {
      copy.put(std::string(kUp) + ".compressed", Dtype::kBF16, {kN, kK / 2}, std::as_bytes(std::span(halves)));
    }
    return copy;
  };
  for (const bool quantized : {false, true}) {
    const Scratch dir;
    make(quantized).write(dir.path());
    const Checkpoint c = Checkpoint::open(dir.path());
    const Linear& up = c.layers()[1].gate_up[1];
    EXPECT_EQ(up.weight.scheme.format, quantized ? SPF_FORMAT_CT_INT : SPF_FORMAT_PLAIN);
    EXPECT_EQ(up.weight.scheme.sparsity, SPF_SPARSITY_2_OF_4);
    EXPECT_EQ(c.layers()[1].gate_up[0].weight.scheme.sparsity, SPF_SPARSITY_NONE) << "the file has it dense";
    const std::vector<float> values = dequantized(up);
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], dense[i] * (quantized ? 0.5f : 1.0f)) << i;
  }
  mask[9] = 0x37; // three of columns 8 to 11 of row 1
  const Error e = make(false).refused();
  EXPECT_EQ(e.status(), SPF_CORRUPT_DATA);
  EXPECT_EQ(e.field(), std::string(kUp) + ".bitmask[1, 8]");
  Copy narrow = make(true);
  narrow.put(std::string(kUp) + ".compressed", Dtype::kI8, {kN, kK / 4},
             std::as_bytes(std::span(codes).first(kN * kK / 4)));
  EXPECT_EQ(narrow.refused().field(), std::string(kUp) + ".compressed.shape");
}

// A layer in NVFP4 that is meant to read NVFP4: it does where the device multiplies so, and reads 16 bits elsewhere.
TEST(Checkpoint, InputsInBlocksAreThePlansChoice) {
  Copy copy("llama_linear");
  copy.config["quantization_config"] = Json::parse(
      R"({"quant_method":"compressed-tensors","format":"nvfp4-pack-quantized","config_groups":{"group_0":{"targets":["Linear"],)"
      R"("weights":{"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16,"dynamic":false},)"
      R"("input_activations":{"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16,"dynamic":"local"}}}})");
  copy.tensors.erase(std::string(kUp) + ".weight");
  const float weight_divisor[] = {4.0f}, input_factor[] = {96.0f};
  copy.put(std::string(kUp) + ".weight_packed", Dtype::kU8, {128, 32}, bytes_of(std::string(128 * 32, '\x12')));
  copy.put(std::string(kUp) + ".weight_scale", Dtype::kF8E4M3, {128, 4}, bytes_of(std::string(128 * 4, '\x38')));
  copy.put(std::string(kUp) + ".weight_global_scale", Dtype::kF32, {1}, std::as_bytes(std::span(weight_divisor)));
  copy.put(std::string(kUp) + ".input_global_scale", Dtype::kF32, {1}, std::as_bytes(std::span(input_factor)));
  const Scratch dir;
  copy.write(dir.path());
  const Checkpoint c = Checkpoint::open(dir.path());
  const Linear& up = c.layers()[1].gate_up[1];
  EXPECT_EQ(up.block_input, SPF_E2M1);
  EXPECT_EQ(up.block_input_factor, 96.0f);
  EXPECT_EQ(c.layers()[1].gate_up[0].block_input, SPF_TYPE_NONE) << "plain";
  const auto planned = [&](const char* device, bool gpu, int64_t batch) {
    const spearfish::DeviceFacts facts = spearfish::facts(device);
    RunnerOptions options;
    options.device = gpu ? spearfish::Device::cuda(0) : spearfish::Device::cpu();
    options.batch = batch;
    const ModelPlan plan = plan_model(c, options, &facts);
    for (const LinearPlan& l : plan.linears)
      if (l.names.front() == kUp) return l;
    return LinearPlan{};
  };
  for (const char* device : {"rtx5090", "gb10"})
    for (const int64_t batch : {1, 64}) {
      const LinearPlan l = planned(device, true, batch);
      EXPECT_EQ(l.input, "nvfp4") << device;
      EXPECT_EQ(l.layout, "block_rows");
      EXPECT_EQ(l.decode_kernel, "linear/sm120_mma");
      EXPECT_EQ(l.prefill_kernel, "linear/sm120_mma");
    }
  for (const char* device : {"h100", "h200"}) {
    const LinearPlan l = planned(device, true, 64);
    EXPECT_EQ(l.input, "") << "16 bits";
    EXPECT_EQ(l.layout, "marlin");
    EXPECT_EQ(l.decode_kernel, "linear/sm90_wgmma");
  }
  EXPECT_EQ(planned("cpu:avx2", false, 1).input, "") << "only the reference multiplies blocks there";
  copy.put(std::string(kUp) + ".input_global_scale", Dtype::kF32, {1}, bytes_of(std::string(4, '\0')));
  EXPECT_EQ(copy.refused().field(), std::string(kUp) + ".input_global_scale");
}

// Words run along N, eight columns of one row of K each, in the interleaved order of AutoAWQ.
TEST(Checkpoint, AwqWordsAreInterleaved) {
  Copy copy("llama_linear");
  copy.config["quantization_config"] =
      Json::parse(R"({"quant_method":"awq","bits":4,"group_size":32,"zero_point":true,"version":"gemm"})");
  copy.tensors.erase(std::string(kUp) + ".weight");
  std::vector<uint32_t> words(64 * 16, 0), zeros(2 * 16, 0);
  words[3 * 16 + 5] = 0x76543210; // row 3, columns 40 to 47
  zeros[5] = 0x11111111;
  copy.put(std::string(kUp) + ".qweight", Dtype::kI32, {64, 16}, std::as_bytes(std::span(words)));
  copy.put(std::string(kUp) + ".qzeros", Dtype::kI32, {2, 16}, std::as_bytes(std::span(zeros)));
  copy.put(std::string(kUp) + ".scales", Dtype::kF16, {2, 128}, bytes_of(std::string(2 * 128 * 2, '\x2c')));
  const Scratch dir;
  copy.write(dir.path());
  const Checkpoint c = Checkpoint::open(dir.path());
  const Linear& up = c.layers()[1].gate_up[1];
  EXPECT_EQ(up.weight.scheme.format, SPF_FORMAT_AWQ);
  const std::vector<float> values = dequantized(up);
  constexpr float kScale = 0.065185546875f; // f16 0x2c2c
  const int codes[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (size_t i = 0; i < 8; ++i)
    EXPECT_EQ(values[(40 + i) * 64 + 3], static_cast<float>(codes[i] - 1) * kScale) << "column " << 40 + i;
  EXPECT_EQ(values[40 * 64 + 4], -kScale); // code 0, zero 1
  EXPECT_EQ(values[0], 0);
}

TEST(Checkpoint, GptqOrderIsReadFromTheTensor) {
  const auto open = [](bool ordered) {
    Copy copy("llama_linear");
    copy.config["quantization_config"] =
        Json::parse(R"({"quant_method":"gptq","bits":4,"group_size":32,"desc_act":false})");
    copy.tensors.erase(std::string(kUp) + ".weight");
    copy.put(std::string(kUp) + ".qweight", Dtype::kI32, {8, 128}, bytes_of(std::string(8 * 128 * 4, '\x21')));
    copy.put(std::string(kUp) + ".qzeros", Dtype::kI32, {2, 16}, bytes_of(std::string(2 * 16 * 4, '\x77')));
    copy.put(std::string(kUp) + ".scales", Dtype::kF16, {2, 128}, bytes_of(std::string(2 * 128 * 2, '\x2c')));
    std::vector<int32_t> order(64);
    for (int k = 0; k < 64; ++k) order[static_cast<size_t>(k)] = ordered ? k % 2 : k / 32;
    copy.put(std::string(kUp) + ".g_idx", Dtype::kI32, {64}, std::as_bytes(std::span(order)));
    const Scratch dir;
    copy.write(dir.path());
    const Checkpoint c = Checkpoint::open(dir.path());
    const Linear& up = c.layers()[1].gate_up[1];
    EXPECT_EQ(up.weight.scheme.format, SPF_FORMAT_GPTQ);
    EXPECT_EQ(up.weight.scheme.has_g_idx, ordered ? 1 : 0);
    const std::vector<float> values = dequantized(up);
    EXPECT_EQ(values[0], (1 - 8) * 0.065185546875f); // code 1, stored zero 7, f16 0x2c2c
  };
  open(false);
  open(true);
}

TEST(Checkpoint, QuantizedViewsThatDoNotFitAreNamed) {
  Copy copy("llama_linear");
  copy.config["quantization_config"] = Json::parse(kInt4);
  copy.tensors.erase(std::string(kUp) + ".weight");
  copy.put(std::string(kUp) + ".weight_packed", Dtype::kI32, {128, 8}, bytes_of(std::string(128 * 8 * 4, '\0')));
  EXPECT_EQ(copy.refused().field(), std::string(kUp) + ".weight_scale");
  copy.put(std::string(kUp) + ".weight_scale", Dtype::kBF16, {128, 3}, bytes_of(std::string(128 * 3 * 2, '\0')));
  const Error e = copy.refused();
  EXPECT_EQ(e.status(), SPF_CORRUPT_DATA);
  EXPECT_TRUE(e.field().starts_with(std::string(kUp) + " ")) << e.what();
}

// --- GGUF ------------------------------------------------------------------------------------------------------------

TEST(Checkpoint, GgufOfBlocksAndFloats) {
  const Scratch dir;
  GgufMetadata metadata;
  metadata.string("general.architecture", "llama");
  for (const auto& [key, value] :
       {std::pair("embedding_length", 64), std::pair("feed_forward_length", 128), std::pair("attention.head_count", 4),
        std::pair("attention.head_count_kv", 2), std::pair("block_count", 1), std::pair("context_length", 128),
        std::pair("vocab_size", 96)})
    metadata.u32(std::string("llama.") + key, static_cast<uint32_t>(value));
  metadata.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  std::vector<TensorSpec> specs = {
      {"token_embd.weight", Dtype::kQ8_0, {96, 64}},      {"output_norm.weight", Dtype::kF32, {64}},
      {"blk.0.attn_norm.weight", Dtype::kF32, {64}},      {"blk.0.ffn_norm.weight", Dtype::kF32, {64}},
      {"blk.0.attn_q.weight", Dtype::kQ4_0, {64, 64}},    {"blk.0.attn_k.weight", Dtype::kQ4_0, {32, 64}},
      {"blk.0.attn_v.weight", Dtype::kIQ4_NL, {32, 64}},  {"blk.0.attn_output.weight", Dtype::kF16, {64, 64}},
      {"blk.0.ffn_gate.weight", Dtype::kQ5_1, {128, 64}}, {"blk.0.ffn_up.weight", Dtype::kBF16, {128, 64}},
      {"blk.0.ffn_down.weight", Dtype::kQ8_0, {64, 128}}};
  const auto write = [&](const char* name) {
    GgufWriter writer(dir / name, metadata, specs);
    for (const TensorSpec& s : specs)
      writer.write(s.name, bytes_of(std::string(*tensor_bytes(s.dtype, s.shape), '\x11')));
    writer.finish();
  };
  write("a.gguf");
  const Checkpoint c = Checkpoint::open(dir.path());
  ASSERT_NE(c.gguf(), nullptr);
  EXPECT_EQ(c.embedding().weight.scheme.format, SPF_FORMAT_Q8_0);
  EXPECT_EQ(c.lm_head().weight.scheme.format, SPF_FORMAT_Q8_0); // tied
  EXPECT_EQ(c.layers()[0].qkv[2].weight.scheme.format, SPF_FORMAT_IQ4_NL);
  EXPECT_EQ(c.layers()[0].o.weight.scheme.format, SPF_FORMAT_PLAIN);
  for (const Linear* linear : c.linears()) dequantized(*linear);
  specs.back() = {"blk.0.ffn_down.weight", Dtype::kTQ1_0, {64, 256}};
  write("b.gguf");
  EXPECT_EQ(refusal([&] { Checkpoint::open(dir / "b.gguf"); }).field(), "blk.0.ffn_down.weight.dtype");
  EXPECT_EQ(refusal([&] { Checkpoint::open(dir.path()); }).field(), "weights"); // two of them
}

} // namespace
} // namespace model_test

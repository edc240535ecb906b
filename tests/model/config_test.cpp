// config.json and GGUF metadata of every architecture -> one struct; what is not served is named.
#include "model/config.hpp"

#include <cmath>

#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish::model;

// Fields of the published models' files that matter here.
constexpr const char* kLlama31 = R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":4096,
 "intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,
 "max_position_embeddings":131072,"rms_norm_eps":1e-5,"rope_theta":500000.0,"hidden_act":"silu","attention_bias":false,
 "bos_token_id":128000,"eos_token_id":[128001,128008,128009],"tie_word_embeddings":false,
 "rope_scaling":{"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}})";
constexpr const char* kMistral =
    R"({"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":2,
 "num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"max_position_embeddings":32768,"sliding_window":4096,"head_dim":null})";
constexpr const char* kQwen2 =
    R"({"model_type":"qwen2","hidden_size":896,"intermediate_size":4864,"num_hidden_layers":4,
 "num_attention_heads":14,"num_key_value_heads":2,"vocab_size":151936,"max_position_embeddings":32768,"sliding_window":1024,
 "use_sliding_window":true,"max_window_layers":3,"tie_word_embeddings":true,"rope_theta":1000000.0})";
constexpr const char* kQwen3 =
    R"({"model_type":"qwen3","hidden_size":1024,"intermediate_size":3072,"num_hidden_layers":2,
 "num_attention_heads":16,"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"max_position_embeddings":40960,
 "rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}})";
constexpr const char* kPhi3 = R"({"model_type":"phi3","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
 "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":128,"max_position_embeddings":131072,"sliding_window":2048,
 "original_max_position_embeddings":4096,"partial_rotary_factor":0.75,"rms_norm_eps":1e-5,
 "rope_scaling":{"type":"su","short_factor":[1,1,1,1,1,1],"long_factor":[1,2,3,4,5,6.5]}})";
constexpr const char* kGemma2 =
    R"({"model_type":"gemma2","hidden_size":2304,"intermediate_size":9216,"num_hidden_layers":4,
 "num_attention_heads":8,"num_key_value_heads":4,"head_dim":256,"vocab_size":256000,"max_position_embeddings":8192,
 "hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh","query_pre_attn_scalar":144,"sliding_window":4096,
 "attn_logit_softcapping":50.0,"final_logit_softcapping":30.0})";
constexpr const char* kGemma3 = R"({"model_type":"gemma3","eos_token_id":[1,106],"text_config":{"hidden_size":2560,
 "intermediate_size":10240,"model_type":"gemma3_text","num_hidden_layers":12,"rope_scaling":{"factor":8.0,"rope_type":"linear"},
 "sliding_window":1024},"vision_config":{"hidden_size":1152}})";

ModelConfig parse(std::string_view text) { return parse_config(text, "config.json"); }

TEST(Config, Llama) {
  const ModelConfig m = parse(kLlama31);
  EXPECT_EQ(m.head_dim, 128);
  EXPECT_EQ(m.kv_heads, 8);
  EXPECT_EQ(m.eos, (std::vector<int64_t>{128001, 128008, 128009}));
  EXPECT_EQ(m.layers.size(), 32u);
  EXPECT_EQ(m.layers[5].window, 0);
  ASSERT_EQ(m.ropes.size(), 1u);
  EXPECT_EQ(m.ropes[0].type, RopeType::kLlama3);
  EXPECT_EQ(m.ropes[0].original_positions, 8192);
  EXPECT_EQ(m.ropes[0].rotary_dim, 128);
  EXPECT_DOUBLE_EQ(m.attention_scale, 1 / std::sqrt(128.0));
  EXPECT_FALSE(m.q_bias || m.o_bias || m.qk_norm || m.tied_embeddings);
}

TEST(Config, MistralSlidesEverywhere) {
  const ModelConfig m = parse(kMistral);
  EXPECT_EQ(m.layers[0].window, 4096);
  EXPECT_EQ(m.layers[1].window, 4096);
  EXPECT_EQ(m.head_dim, 128);
}

TEST(Config, Qwen2BiasesAndSlidesAtTheTop) {
  const ModelConfig m = parse(kQwen2);
  EXPECT_TRUE(m.q_bias);
  EXPECT_FALSE(m.o_bias);
  EXPECT_TRUE(m.tied_embeddings);
  EXPECT_EQ(m.layers[2].window, 0);
  EXPECT_EQ(m.layers[3].window, 1024);
}

TEST(Config, Qwen3NormsHeadsAndYarn) {
  const ModelConfig m = parse(kQwen3);
  EXPECT_TRUE(m.qk_norm);
  EXPECT_FALSE(m.q_bias);
  EXPECT_EQ(m.ropes[0].type, RopeType::kYarn);
  EXPECT_EQ(m.ropes[0].theta, 1e6);
  EXPECT_DOUBLE_EQ(m.ropes[0].attention_factor, 0.1 * std::log(4.0) + 1);
}

TEST(Config, Phi3LongRope) {
  const ModelConfig m = parse(kPhi3);
  EXPECT_EQ(m.ropes[0].type, RopeType::kLongRope);
  EXPECT_EQ(m.ropes[0].rotary_dim, 12);
  EXPECT_EQ(m.ropes[0].long_factors.back(), 6.5);
  EXPECT_DOUBLE_EQ(m.ropes[0].attention_factor, std::sqrt(1 + std::log(32.0) / std::log(4096.0)));
  EXPECT_EQ(m.layers[0].window, 2048);
}

TEST(Config, Gemma2) {
  const ModelConfig m = parse(kGemma2);
  EXPECT_EQ(m.norms, NormPlacement::kSandwich);
  EXPECT_EQ(m.norm_offset, 1);
  EXPECT_EQ(m.activation, Activation::kGeluTanh);
  EXPECT_DOUBLE_EQ(m.attention_scale, 1.0 / 12);
  EXPECT_DOUBLE_EQ(m.embedding_scale, 48);
  EXPECT_EQ(m.attention_softcap, 50);
  EXPECT_EQ(m.logit_softcap, 30);
  EXPECT_EQ(m.layers[0].window, 4096);
  EXPECT_EQ(m.layers[1].window, 0);
  EXPECT_TRUE(m.tied_embeddings);
  EXPECT_EQ(m.bos, (std::vector<int64_t>{2}));
}

TEST(Config, Gemma3WithPictures) {
  const ModelConfig m = parse(kGemma3);
  EXPECT_EQ(m.architecture, Architecture::kGemma3);
  EXPECT_EQ(m.heads, 8);
  EXPECT_EQ(m.head_dim, 256);
  EXPECT_EQ(m.vocab, 262208);
  ASSERT_EQ(m.ropes.size(), 2u);
  EXPECT_EQ(m.ropes[0].type, RopeType::kLinear);
  EXPECT_EQ(m.ropes[0].theta, 1e6);
  EXPECT_EQ(m.ropes[1].type, RopeType::kDefault);
  EXPECT_EQ(m.ropes[1].theta, 10000);
  EXPECT_EQ(m.layers[4].window, 1024);
  EXPECT_EQ(m.layers[4].rope, 1);
  EXPECT_EQ(m.layers[5].window, 0);
  EXPECT_EQ(m.layers[5].rope, 0);
  EXPECT_EQ(m.attention_softcap, 0);
  EXPECT_EQ(m.eos, (std::vector<int64_t>{1, 106}));
}

TEST(Config, NewerFilesNameRopeParametersAndLayerTypes) {
  const ModelConfig m =
      parse(R"({"model_type":"gemma3_text","num_hidden_layers":2,"layer_types":["full_attention","sliding_attention"],
    "rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":2000000.0},
    "sliding_attention":{"rope_type":"default","rope_theta":5000.0}}})");
  EXPECT_EQ(m.layers[0].window, 0);
  EXPECT_EQ(m.layers[1].rope, 1);
  EXPECT_EQ(m.ropes[0].theta, 2e6);
  EXPECT_EQ(m.ropes[0].factor, 8);
  EXPECT_EQ(m.ropes[1].theta, 5000);
}

// One field of a good file changed; the refusal names it.
void expect_refused(std::string_view base, std::string_view patch, const char* field, spf_status status) {
  Json json = Json::parse(base);
  json.merge_patch(Json::parse(patch));
  const Error e = refusal([&] { parse(json.dump()); });
  EXPECT_EQ(e.field(), field) << patch << " -> " << e.what();
  EXPECT_EQ(e.status(), status) << e.what();
}

TEST(Config, NamesWhatItDoesNotServe) {
  expect_refused(kLlama31, R"({"model_type":"mamba"})", "model_type", SPF_UNSUPPORTED);
  expect_refused(kLlama31, R"({"hidden_act":"relu"})", "hidden_act", SPF_UNSUPPORTED);
  expect_refused(kLlama31, R"({"rope_scaling":{"rope_type":"mrope"}})", "rope_scaling.rope_type", SPF_UNSUPPORTED);
  expect_refused(kLlama31, R"({"num_local_experts":8})", "num_local_experts", SPF_UNSUPPORTED);
  expect_refused(kGemma2, R"({"use_bidirectional_attention":true})", "use_bidirectional_attention", SPF_UNSUPPORTED);
  expect_refused(kLlama31, R"({"hidden_size":null})", "hidden_size", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"hidden_size":-4096})", "hidden_size", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"hidden_size":4096.5})", "hidden_size", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"hidden_size":1e300})", "hidden_size", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"num_hidden_layers":1000000000})", "num_hidden_layers", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"num_key_value_heads":5})", "num_key_value_heads", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"head_dim":127})", "rotated dimensions of a head", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"eos_token_id":"</s>"})", "eos_token_id", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"bos_token_id":128256})", "bos_token_id", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"rope_theta":0})", "rope_theta", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"rope_scaling":{"factor":null}})", "rope_scaling.factor", SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"rope_scaling":{"high_freq_factor":1.0}})", "rope_scaling.high_freq_factor",
                 SPF_CORRUPT_DATA);
  expect_refused(kLlama31, R"({"rope_scaling":{"low_freq_factor":5.0,"high_freq_factor":null}})",
                 "rope_scaling.high_freq_factor", SPF_CORRUPT_DATA);
  expect_refused(kPhi3, R"({"rope_scaling":{"long_factor":[1,2]}})", "rope_scaling.long_factor", SPF_CORRUPT_DATA);
  expect_refused(kGemma2, R"({"layer_types":["full_attention"]})", "layer_types", SPF_CORRUPT_DATA);
  EXPECT_EQ(refusal([] { parse("{"); }).status(), SPF_CORRUPT_DATA);
  EXPECT_EQ(refusal([] { parse("[]"); }).field(), "document");
}

TEST(Config, GenerationConfigSaysWhereToStop) {
  const Scratch dir;
  spill(dir / "config.json", kLlama31);
  spill(dir / "generation_config.json", R"({"eos_token_id":128009})");
  const ModelConfig m = read_config(dir / "config.json");
  EXPECT_EQ(m.eos, (std::vector<int64_t>{128009}));
  EXPECT_EQ(m.bos, (std::vector<int64_t>{128000}));
}

TEST(Config, TheSampleModel) {
  const ModelConfig m = read_config(SPF_SOURCE_DIR "/models/sample/config.json");
  EXPECT_EQ(m.hidden, 256);
  EXPECT_EQ(m.layers.size(), 7u);
  EXPECT_EQ(m.head_dim, 64);
  EXPECT_TRUE(m.tied_embeddings);
  EXPECT_EQ(describe(m),
            "llama: hidden 256, 7 layers, 4/2 heads of 64, intermediate 768, vocabulary 256, up to 1024 positions, "
            "rope default");
}

// --- quantization_config ---------------------------------------------------------------------------------------------

QuantizationConfig quantization(const std::string& text) {
  const Json json = Json::parse(text);
  return QuantizationConfig(JsonObject(json, "config.json", "quantization_config"));
}

std::string compressed(const std::string& weights, const std::string& format, const std::string& more = "") {
  return R"({"quant_method":"compressed-tensors","format":")" + format +
         R"(","config_groups":{"group_0":{"targets":["Linear"],"weights":)" + weights + "}}" + more + "}";
}

constexpr const char* kQ = "model.layers.3.self_attn.q_proj";

TEST(Quantization, Gptq) {
  const auto q = quantization(R"({"quant_method":"gptq","bits":4,"group_size":128,"desc_act":true,"sym":true,
    "dynamic":{"-:.*\\.o_proj":{},"+:.*\\.layers\\.0\\.":{"bits":8,"group_size":32}}})");
  const ModuleScheme* s = q.scheme_of(kQ);
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(s->scheme.format, SPF_FORMAT_GPTQ);
  EXPECT_EQ(s->scheme.weight, SPF_U4);
  EXPECT_EQ(s->scheme.group_k, 128);
  EXPECT_EQ(s->scheme.has_g_idx, 1);
  EXPECT_EQ(q.scheme_of("lm_head"), nullptr);
  EXPECT_EQ(q.scheme_of("model.layers.3.self_attn.o_proj"), nullptr);
  ASSERT_NE(q.scheme_of("model.layers.0.mlp.up_proj"), nullptr);
  EXPECT_EQ(q.scheme_of("model.layers.0.mlp.up_proj")->scheme.weight, SPF_U8);
  EXPECT_EQ(q.scheme_of("model.layers.0.mlp.up_proj")->scheme.group_k, 32);
  EXPECT_EQ(quantization(R"({"quant_method":"gptq","bits":4,"group_size":-1,"checkpoint_format":"gptq_v2"})")
                .scheme_of(kQ)
                ->scheme.format,
            SPF_FORMAT_GPTQ_V2);
}

TEST(Quantization, Awq) {
  const auto q = quantization(R"({"quant_method":"awq","bits":4,"group_size":64,"zero_point":true,"version":"GEMM",
    "modules_to_not_convert":["mlp.down_proj","layers.3"]})");
  EXPECT_EQ(q.scheme_of(kQ), nullptr);
  EXPECT_EQ(q.scheme_of("model.layers.31.mlp.down_proj"), nullptr);
  ASSERT_NE(q.scheme_of("model.layers.31.mlp.up_proj"), nullptr); // 31 is not 3
  EXPECT_EQ(q.scheme_of("model.layers.31.mlp.up_proj")->scheme.format, SPF_FORMAT_AWQ);
}

TEST(Quantization, Fp8) {
  const auto block = quantization(
      R"({"quant_method":"fp8","fmt":"e4m3","activation_scheme":"dynamic","weight_block_size":[128,128]})");
  EXPECT_EQ(block.scheme_of(kQ)->scheme.group_n, 128);
  EXPECT_EQ(block.scheme_of(kQ)->scheme.group_k, 128);
  const auto tensor = quantization(
      R"({"quant_method":"fp8","activation_scheme":"static","ignored_layers":["model.layers.3.self_attn.q_proj"]})");
  EXPECT_EQ(tensor.scheme_of(kQ), nullptr);
  EXPECT_EQ(tensor.scheme_of("a")->scheme.group_n, -1);
  EXPECT_TRUE(tensor.scheme_of("a")->static_activation_scale);
}

TEST(Quantization, CompressedTensors) {
  const auto one = [](const std::string& weights, const std::string& format) {
    return quantization(compressed(weights, format)).scheme_of(kQ)->scheme;
  };
  const spf_quant_scheme int4 =
      one(R"({"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":128,"actorder":"group"})",
          "pack-quantized");
  EXPECT_EQ(int4.weight, SPF_U4B8);
  EXPECT_EQ(int4.group_k, 128);
  EXPECT_EQ(int4.has_g_idx, 1);
  const spf_quant_scheme asym =
      one(R"({"num_bits":4,"type":"int","symmetric":false,"strategy":"group","group_size":32,"actorder":"weight"})",
          "pack-quantized");
  EXPECT_EQ(asym.weight, SPF_U4);
  EXPECT_EQ(asym.zero, SPF_ZERO_INTEGER);
  EXPECT_EQ(asym.has_g_idx, 0);
  EXPECT_EQ(one(R"({"num_bits":8,"strategy":"channel"})", "pack-quantized").weight, SPF_U8B128);
  EXPECT_EQ(one(R"({"num_bits":8,"strategy":"channel"})", "int-quantized").weight, SPF_S8);
  EXPECT_EQ(one(R"({"num_bits":8,"type":"float","strategy":"tensor"})", "float-quantized").group_n, -1);
  EXPECT_EQ(one(R"({"num_bits":8,"type":"float","strategy":"channel"})", "float-quantized").group_n, 1);
  EXPECT_EQ(
      one(R"({"num_bits":8,"type":"float","strategy":"block","block_structure":[128,128]})", "float-quantized").group_k,
      128);
  const spf_quant_scheme nv =
      one(R"({"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16})", "nvfp4-pack-quantized");
  EXPECT_EQ(nv.format, SPF_FORMAT_NVFP4);
  EXPECT_EQ(nv.has_global_scale, 1);
  EXPECT_EQ(one(R"({"num_bits":4,"type":"float","strategy":"group","group_size":32})", "mxfp4-pack-quantized").format,
            SPF_FORMAT_MXFP4);
}

TEST(Quantization, CompressedTensorsInputsInBlocks) {
  const auto input = [](const char* format, int group, const std::string& of_input) {
    return quantization(
               R"({"quant_method":"compressed-tensors","format":")" + std::string(format) +
               R"(","config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"float",)" +
               R"("strategy":"group","group_size":)" + std::to_string(group) + R"(},"input_activations":)" + of_input +
               "}}}")
        .scheme_of(kQ)
        ->block_input;
  };
  constexpr const char *kNv = "nvfp4-pack-quantized", *kMx = "mxfp4-pack-quantized";
  EXPECT_EQ(input(kNv, 16, R"({"num_bits":4,"type":"float","group_size":16,"dynamic":"local"})"), SPF_E2M1);
  EXPECT_EQ(input(kMx, 32, R"({"num_bits":4,"type":"float","group_size":32,"dynamic":true})"), SPF_E2M1);
  EXPECT_EQ(input(kMx, 32, R"({"num_bits":8,"type":"float","group_size":32,"dynamic":true})"), SPF_E4M3);
  EXPECT_EQ(input(kNv, 16, R"({"num_bits":8,"type":"float","dynamic":true})"), SPF_TYPE_NONE) << "one scale a token";
}

TEST(Quantization, CompressedTensorsIgnoresAndTargets) {
  const std::string int4 = R"({"num_bits":4,"strategy":"group","group_size":128})";
  const auto q = quantization(compressed(
      int4, "pack-quantized", R"(,"ignore":["lm_head","re:.*\\.mlp\\..*","model.layers.9.self_attn.q_proj"])"));
  EXPECT_EQ(q.scheme_of("lm_head"), nullptr);
  EXPECT_EQ(q.scheme_of("model.layers.1.mlp.up_proj"), nullptr);
  EXPECT_EQ(q.scheme_of("model.layers.9.self_attn.q_proj"), nullptr);
  EXPECT_NE(q.scheme_of("model.layers.9.self_attn.k_proj"), nullptr);
  const auto mixed = quantization(R"({"quant_method":"compressed-tensors","format":"mixed-precision","config_groups":{
    "a":{"targets":["Linear"],"format":"pack-quantized","weights":{"num_bits":4,"strategy":"group","group_size":128}},
    "b":{"targets":["re:.*down_proj"],"format":"float-quantized","weights":{"num_bits":8,"type":"float","strategy":"channel"}}}})");
  EXPECT_EQ(mixed.scheme_of("x.down_proj")->scheme.format, SPF_FORMAT_FP8);
  EXPECT_EQ(mixed.scheme_of("x.up_proj")->scheme.format, SPF_FORMAT_CT_INT);
}

TEST(Quantization, NamesWhatItDoesNotServe) {
  const auto refused = [](const std::string& text) { return refusal([&] { quantization(text); }).field(); };
  const std::string root = "quantization_config.", weights = root + "config_groups.group_0.weights.";
  EXPECT_EQ(refused(R"({"quant_method":"bitsandbytes"})"), root + "quant_method");
  EXPECT_EQ(refused(R"({"bits":4})"), root + "quant_method");
  EXPECT_EQ(refused(R"({"quant_method":"gptq","bits":3,"group_size":128})"), root + "bits");
  EXPECT_EQ(refused(R"({"quant_method":"gptq","bits":4,"group_size":0})"), root + "group_size");
  EXPECT_EQ(refused(R"({"quant_method":"gptq","bits":4,"group_size":128,"checkpoint_format":"marlin"})"),
            root + "checkpoint_format");
  EXPECT_EQ(refused(R"({"quant_method":"awq","bits":4,"group_size":128,"version":"gemv"})"), root + "version");
  EXPECT_EQ(refused(R"({"quant_method":"fp8","weight_block_size":[64,64]})"), root + "weight_block_size");
  EXPECT_EQ(refused(R"({"quant_method":"fp8","fmt":"e5m2"})"), root + "fmt");
  EXPECT_EQ(refused(compressed(R"({"num_bits":4})", "marlin-24")), root + "format");
  EXPECT_EQ(refused(compressed(R"({"num_bits":3,"strategy":"channel"})", "pack-quantized")), weights + "num_bits");
  EXPECT_EQ(refused(compressed(R"({"num_bits":4,"strategy":"block"})", "pack-quantized")), weights + "strategy");
  EXPECT_EQ(refused(compressed(R"({"num_bits":8,"type":"float","strategy":"tensor"})", "pack-quantized")),
            weights + "type");
  EXPECT_EQ(refused(compressed(R"({"num_bits":4,"type":"float","strategy":"group","group_size":32})",
                               "nvfp4-pack-quantized")),
            weights + "group_size");
  EXPECT_EQ(refused(compressed(R"({"num_bits":4,"strategy":"channel"})", "pack-quantized", R"(,"ignore":["re:("])")),
            root + "ignore");
  EXPECT_EQ(refused(compressed(R"({"num_bits":4,"strategy":"channel"})", "pack-quantized",
                               R"(,"sparsity_config":{"format":"sparse-bitmask"})")),
            root + "sparsity_config.format");
  EXPECT_EQ(
      refused(compressed(R"({"num_bits":4,"strategy":"channel"})", "pack-quantized",
                         R"(,"sparsity_config":{"format":"sparse-24-bitmask","sparsity_structure":"unstructured"})")),
      root + "sparsity_config.sparsity_structure");
}

// --- GGUF ------------------------------------------------------------------------------------------------------------

GgufMetadata metadata_of(const std::string& arch) {
  GgufMetadata m;
  m.string("general.architecture", arch);
  m.u32(arch + ".embedding_length", 256);
  m.u32(arch + ".feed_forward_length", 768);
  m.u32(arch + ".attention.head_count", 4);
  m.u32(arch + ".attention.head_count_kv", 2);
  m.u32(arch + ".block_count", 6);
  m.u32(arch + ".context_length", 8192);
  m.f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  m.u32(arch + ".vocab_size", 300);
  m.u32("tokenizer.ggml.eos_token_id", 2);
  return m;
}

ModelConfig read_gguf(const GgufMetadata& metadata, const std::vector<TensorSpec>& tensors = {}) {
  const Scratch dir;
  GgufWriter writer(dir / "m.gguf", metadata, tensors);
  for (const TensorSpec& t : tensors) {
    const std::vector<float> ones(static_cast<size_t>(*tensor_bytes(t.dtype, t.shape) / 4), 2.0f);
    writer.write(t.name, std::as_bytes(std::span(ones)));
  }
  writer.finish();
  return gguf_config(Gguf::open(dir / "m.gguf"));
}

TEST(GgufConfig, Architectures) {
  const ModelConfig llama = read_gguf(metadata_of("llama"));
  EXPECT_TRUE(llama.ropes[0].interleaved);
  EXPECT_EQ(llama.head_dim, 64);
  EXPECT_EQ(llama.vocab, 300);
  EXPECT_TRUE(llama.tied_embeddings);
  EXPECT_EQ(llama.eos, (std::vector<int64_t>{2}));
  EXPECT_TRUE(llama.bos.empty());
  const ModelConfig qwen = read_gguf(metadata_of("qwen3"), {{"output.weight", Dtype::kF32, {300, 4}}});
  EXPECT_TRUE(qwen.qk_norm);
  EXPECT_FALSE(qwen.tied_embeddings);
  EXPECT_FALSE(qwen.ropes[0].interleaved);
  GgufMetadata with_window = metadata_of("gemma3");
  with_window.u32("gemma3.attention.sliding_window", 512);
  with_window.f32("gemma3.rope.freq_base", 1e6f);
  with_window.f32("gemma3.rope.scaling.factor", 8);
  const ModelConfig gemma = read_gguf(with_window);
  EXPECT_EQ(gemma.norm_offset, 0);
  EXPECT_EQ(gemma.layers[4].window, 512);
  EXPECT_EQ(gemma.layers[5].window, 0);
  EXPECT_EQ(gemma.ropes[0].type, RopeType::kLinear);
  EXPECT_EQ(gemma.ropes[1].theta, 10000);
  const ModelConfig scaled = read_gguf(metadata_of("llama"), {{"rope_freqs.weight", Dtype::kF32, {32}}});
  EXPECT_EQ(scaled.ropes[0].type, RopeType::kLongRope);
  EXPECT_EQ(scaled.ropes[0].short_factors[31], 2.0);
}

TEST(GgufConfig, NamesWhatItDoesNotServe) {
  EXPECT_EQ(refusal([] { read_gguf(metadata_of("mamba")); }).field(), "general.architecture");
  GgufMetadata experts = metadata_of("llama");
  experts.u32("llama.expert_count", 8);
  EXPECT_EQ(refusal([&] { read_gguf(experts); }).field(), "llama.expert_count");
  GgufMetadata rope = metadata_of("llama");
  rope.string("llama.rope.scaling.type", "ntk");
  EXPECT_EQ(refusal([&] { read_gguf(rope); }).field(), "llama.rope.scaling.type");
  GgufMetadata missing;
  missing.string("general.architecture", "llama");
  EXPECT_EQ(refusal([&] { read_gguf(missing); }).field(), "llama.embedding_length");
  EXPECT_EQ(refusal([] {
              read_gguf(metadata_of("llama"), {{"rope_freqs.weight", Dtype::kF32, {31}}});
            }).field(),
            "rope_freqs.weight");
}

} // namespace
} // namespace model_test

// Every op through its typed function gives what the generic call gives, with parameters that are not the defaults.
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace spearfish {
namespace {

constexpr int64_t kRows = 3, kWidth = 16;

// Tensors of one call, with room to compare outputs.
struct Data {
  std::vector<std::vector<std::byte>> storage;
  std::vector<OptionalTensor> operands;
};

// Extents and types that go together where an op wants more than equal ones.
const std::map<std::string, std::map<std::string, int64_t>> kExtents = {
    {"reshape_and_cache", {{"DX", 1}}},
    {"copy_blocks", {{"PAIRS", 8}}},
    {"swap_blocks", {{"PAIRS", 8}}},
    {"static_scaled_fp8_quant", {{"SR", kRows}, {"SC", 4}}},
    {"rms_norm_per_block_quant", {{"H", 128}, {"G", 1}}},
    {"rotate_nvfp4_quantize", {{"R", 32}}},
    {"rotate_mxfp4_quantize", {{"R", 32}}},
    {"per_token_group_fp8_quant", {{"K", 128}, {"G", 1}}},
    {"per_token_group_quant_int8", {{"K", 128}, {"G", 1}}},
    {"per_token_group_fp8_quant_packed", {{"K", 128}, {"W", 1}}},
    {"silu_and_mul_per_block_quant", {{"K", 128}, {"2*K", 128}, {"G", 1}}},
    {"persistent_masked_m_silu_mul_quant", {{"K", 128}, {"2*K", 128}, {"G", 1}}}};
const std::map<std::string, std::map<std::string, ScalarType>> kTypes = {
    {"reshape_and_cache_flash", {{"key_cache", SPF_E4M3}, {"value_cache", SPF_E4M3}}},
    {"rotary_embedding_and_cache", {{"key_cache", SPF_E4M3}, {"value_cache", SPF_E4M3}}},
    {"reshape_and_cache", {{"key_cache", SPF_E4M3}, {"value_cache", SPF_E4M3}}},
    {"gather_cache", {{"cache", SPF_E4M3}}},
    {"convert_fp8", {{"out", SPF_E5M2}}}};

template <class T>
T chosen(const std::map<std::string, std::map<std::string, T>>& special, const std::string& op, const std::string& name,
         T fallback) {
  const auto of_op = special.find(op);
  if (of_op == special.end()) return fallback;
  const auto of_name = of_op->second.find(name);
  return of_name == of_op->second.end() ? fallback : of_name->second;
}

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Operands of an op, "*" = 3 rows, every other symbol 16 (B1, offsets of B sequences, 17), in f32 where that is
// accepted, filled with small numbers that differ and that its rule for values allows.
Data make(const OpInfo& op, bool with_optional) {
  Data data;
  data.storage.reserve(op.operands.size());
  for (const OperandInfo& operand : op.operands) {
    if (operand.optional && !with_optional) {
      data.operands.emplace_back();
      continue;
    }
    Shape shape;
    int64_t count = 1;
    std::string rest = operand.shape;
    while (!rest.empty()) {
      const std::string dim = rest.substr(0, rest.find(','));
      rest.erase(0, dim.size() + 1);
      const int64_t width = chosen(kExtents, op.name, dim, dim == "B1" || dim == "E1" ? kWidth + 1 : kWidth);
      const size_t padded = dim.find('('); // "up128(rows)"
      const bool constant = dim.find_first_not_of("0123456789") == std::string::npos;
      shape.push_back(dim == "*" ? kRows
                      : constant ? std::stoll(dim)
                      : padded != std::string::npos
                          ? round_up(dim.substr(padded) == "(rows)" ? kRows : kWidth, std::stoll(dim.substr(2)))
                      : dim.find('*') == std::string::npos ? width
                                                           : std::stoll(dim) * width);
      count *= shape.back();
    }
    const bool f32 = std::count(operand.types.begin(), operand.types.end(), SPF_F32) > 0;
    const ScalarType type = chosen(kTypes, op.name, operand.name, f32 ? SPF_F32 : operand.types.front());
    const double step = f32 ? 8 : 1;
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(static_cast<double>((i * 29 + 7 * static_cast<int64_t>(data.storage.size())) % 41 - 20) / step);
    for (int64_t i = 0; i < count; ++i) {
      double& value = values[static_cast<size_t>(i)];
      if (operand.values.find("index") != std::string::npos) value = static_cast<double>(i % kWidth);
      if (operand.values.rfind("range", 0) == 0) value = 1;
      if (operand.values == "positive" || operand.values == "factor") value = static_cast<double>(1 + i % 3);
      if (operand.values.rfind("padded 128", 0) == 0) value = static_cast<double>(128 * i);
      if (operand.values.rfind("offsets", 0) == 0) value = static_cast<double>(i);
    }
    std::vector<std::byte> bytes(static_cast<size_t>(count) * static_cast<size_t>(describe(type).bits) / 8);
    check(spf_encode(type, values.data(), count, bytes.data()));
    data.storage.push_back(std::move(bytes));
    data.operands.emplace_back(Tensor(data.storage.back().data(), type, shape));
  }
  return data;
}

using Operands = std::vector<OptionalTensor>;
struct Typed {
  std::vector<double> params; // as the generic call takes them
  std::function<void(const Operands&, const Launch&)> call;
};

// One entry an op. Missing ones fail the test below.
const std::map<std::string, Typed>& typed_functions() {
  using Unary = void (*)(const Tensor&, const Tensor&, const Launch&);
  const auto unary = [](Unary f) { return Typed{{}, [f](const Operands& o, const Launch& l) { f(*o[0], *o[1], l); }}; };
  static const std::map<std::string, Typed> all = {
      {"rms_norm",
       {{0.5, 1},
        [](const Operands& o, const Launch& l) {
          rms_norm(*o[0], o[1], *o[2], {0.5, true}, l);
        }}},
      {"fused_add_rms_norm",
       {{0.5, 1},
        [](const Operands& o, const Launch& l) {
          fused_add_rms_norm(*o[0], *o[1], o[2], {0.5, true}, l);
        }}},
      {"layer_norm",
       {{0.5}, [](const Operands& o, const Launch& l) { layer_norm(*o[0], o[1], o[2], *o[3], {0.5}, l); }}},
      {"silu_and_mul", unary(silu_and_mul)},
      {"mul_and_silu", unary(mul_and_silu)},
      {"gelu_and_mul", unary(gelu_and_mul)},
      {"gelu_tanh_and_mul", unary(gelu_tanh_and_mul)},
      {"fatrelu_and_mul",
       {{0.75}, [](const Operands& o, const Launch& l) { fatrelu_and_mul(*o[0], *o[1], {0.75}, l); }}},
      {"swigluoai_and_mul",
       {{1.25, 2.0},
        [](const Operands& o, const Launch& l) {
          swigluoai_and_mul(*o[0], *o[1], {1.25, 2.0}, l);
        }}},
      {"silu", unary(silu)},
      {"gelu", unary(gelu)},
      {"gelu_tanh", unary(gelu_tanh)},
      {"gelu_new", unary(gelu_new)},
      {"gelu_fast", unary(gelu_fast)},
      {"gelu_quick", unary(gelu_quick)},
      {"hadamard_transform",
       {{0}, [](const Operands& o, const Launch& l) { hadamard_transform(*o[0], *o[1], false, l); }}},
      {"permute_cols", {{}, [](const Operands& o, const Launch& l) { permute_cols(*o[0], *o[1], *o[2], l); }}},
      {"nvfp4_quantize",
       {{},
        [](const Operands& o, const Launch& l) {
          nvfp4_quantize(*o[0], *o[1], *o[2], {o[3], o[4]}, l);
        }}},
      {"silu_and_mul_nvfp4_quantize",
       {{},
        [](const Operands& o, const Launch& l) {
          silu_and_mul_nvfp4_quantize(*o[0], *o[1], *o[2], {o[3], o[4]}, l);
        }}},
      {"swizzle_scales", unary(swizzle_scales)},
      {"unswizzle_scales", {{}, [](const Operands& o, const Launch& l) { unswizzle_scales(*o[1], *o[0], l); }}},
      {"rotate_nvfp4_quantize",
       {{},
        [](const Operands& o, const Launch& l) {
          rotate_nvfp4_quantize(*o[0], *o[1], *o[2], *o[3], {o[4], o[5]}, l);
        }}},
      {"rotate_mxfp4_quantize",
       {{SPF_ROTATED_SCALE_ABS_MAX},
        [](const Operands& o, const Launch& l) {
          rotate_mxfp4_quantize(*o[0], *o[1], *o[2], {o[3], o[4]}, SPF_ROTATED_SCALE_ABS_MAX, l);
        }}},
      {"nvfp4_experts_quantize",
       {{},
        [](const Operands& o, const Launch& l) {
          nvfp4_experts_quantize(*o[0], *o[1], {*o[2], *o[3]}, *o[4], *o[5], l);
        }}},
      {"silu_and_mul_nvfp4_experts_quantize",
       {{},
        [](const Operands& o, const Launch& l) {
          silu_and_mul_nvfp4_experts_quantize(*o[0], *o[1], {*o[2], *o[3]}, *o[4], *o[5], l);
        }}},
      {"mxfp8_experts_quantize",
       {{SPF_MX_SCALE_FLOOR},
        [](const Operands& o, const Launch& l) {
          mxfp8_experts_quantize(*o[0], {*o[1], *o[2]}, *o[3], *o[4], SPF_MX_SCALE_FLOOR, l);
        }}},
      {"mxfp4_quantize",
       {{SPF_MX_SCALE_UP},
        [](const Operands& o, const Launch& l) {
          mxfp4_quantize(*o[0], *o[1], {o[2], o[3]}, SPF_MX_SCALE_UP, l);
        }}},
      {"mxfp8_quantize",
       {{SPF_MX_SCALE_NEAREST},
        [](const Operands& o, const Launch& l) {
          mxfp8_quantize(*o[0], *o[1], {o[2], o[3]}, SPF_MX_SCALE_NEAREST, l);
        }}},
      {"embedding", {{2.5}, [](const Operands& o, const Launch& l) { embedding(*o[0], *o[1], *o[2], {2.5}, l); }}},
      {"argmax", {{}, [](const Operands& o, const Launch& l) { argmax(*o[0], *o[1], o[2], l); }}},
      {"sample",
       {{},
        [](const Operands& o, const Launch& l) {
          sample(*o[0], *o[1], {o[2], o[3], o[4], o[5]}, *o[6], *o[7], o[8], l);
        }}},
      {"attention_decode",
       {{0.5, 30.0, 7},
        [](const Operands& o, const Launch& l) {
          attention_decode(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], {0.5, 30.0, 7}, {o[6], o[7], o[8], o[9], o[10]},
                           l);
        }}},
      {"paged_attention",
       {{0.5, 30.0, 1, 3, 4, 2, 1},
        [](const Operands& o, const Launch& l) {
          const spf_sparse_mask sparse = {1, 3, 4, 2, 1};
          paged_attention(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], 0.5, 30.0, {o[6], {}, o[7], o[8], o[9]}, &sparse,
                          l);
        }}},
      {"attention_prefill",
       {{0.5, 30.0, 7, 0},
        [](const Operands& o, const Launch& l) {
          attention_prefill(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], {0.5, 30.0, 7, false}, {o[6], o[7], {}, {}, o[8]},
                            l);
        }}},
      {"attention_prefill_paged",
       {{0.5, 30.0, 7, 0},
        [](const Operands& o, const Launch& l) {
          attention_prefill_paged(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], *o[6], {0.5, 30.0, 7, false},
                                  {o[7], o[8], o[9], o[10], o[11]}, l);
        }}},
      {"merge_attn_states",
       {{}, [](const Operands& o, const Launch& l) { merge_attn_states(*o[0], *o[1], *o[2], *o[3], *o[4], o[5], l); }}},
      {"apply_penalties",
       {{},
        [](const Operands& o, const Launch& l) {
          apply_penalties(*o[0], o[1], o[2], {o[3], o[4], o[5]}, l);
        }}},
      {"top_k", {{}, [](const Operands& o, const Launch& l) { top_k(*o[0], *o[1], *o[2], l); }}},
      {"top_k_per_row_prefill",
       {{}, [](const Operands& o, const Launch& l) { top_k_per_row_prefill(*o[0], *o[1], *o[2], *o[3], l); }}},
      {"top_k_per_row_decode",
       {{}, [](const Operands& o, const Launch& l) { top_k_per_row_decode(*o[0], *o[1], *o[2], l); }}},
      {"large_context_topk",
       {{}, [](const Operands& o, const Launch& l) { large_context_topk(*o[0], *o[1], o[2], *o[3], l); }}},
      {"rotary_embedding",
       {{1}, [](const Operands& o, const Launch& l) { rotary_embedding(*o[0], *o[1], o[2], *o[3], {true}, l); }}},
      {"rotary_embedding_and_cache",
       {{1},
        [](const Operands& o, const Launch& l) {
          rotary_embedding_and_cache(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], *o[6], *o[7], {o[8], o[9]}, {true}, l);
        }}},
      {"fused_qk_norm_rope",
       {{9, 4, 0.5, 1, 1},
        [](const Operands& o, const Launch& l) {
          fused_qk_norm_rope(*o[0], *o[1], *o[2], *o[3], *o[4], {9, 4, 0.5, true, true}, l);
        }}},
      {"reshape_and_cache_flash",
       {{},
        [](const Operands& o, const Launch& l) {
          reshape_and_cache_flash(*o[0], *o[1], *o[2], *o[3], *o[4], o[5], o[6], l);
        }}},
      {"reshape_and_cache",
       {{},
        [](const Operands& o, const Launch& l) {
          reshape_and_cache(*o[0], *o[1], *o[2], *o[3], *o[4], o[5], o[6], l);
        }}},
      {"copy_blocks", {{}, [](const Operands& o, const Launch& l) { copy_blocks(*o[0], *o[1], *o[2], l); }}},
      {"swap_blocks", {{}, [](const Operands& o, const Launch& l) { swap_blocks(*o[0], *o[1], *o[2], l); }}},
      {"gather_cache",
       {{}, [](const Operands& o, const Launch& l) { gather_cache(*o[0], *o[1], *o[2], o[3], o[4], *o[5], l); }}},
      {"convert_fp8", {{0.5}, [](const Operands& o, const Launch& l) { convert_fp8(*o[0], *o[1], 0.5, l); }}},
      {"rms_norm_static_fp8_quant",
       {{0.5, 1},
        [](const Operands& o, const Launch& l) {
          rms_norm_static_fp8_quant(*o[0], o[1], *o[2], *o[3], {0.5, true}, l);
        }}},
      {"fused_add_rms_norm_static_fp8_quant",
       {{0.5, 1},
        [](const Operands& o, const Launch& l) {
          fused_add_rms_norm_static_fp8_quant(*o[0], *o[1], o[2], *o[3], *o[4], {0.5, true}, l);
        }}},
      {"rms_norm_dynamic_per_token_quant",
       {{0.5, 1},
        [](const Operands& o, const Launch& l) {
          rms_norm_dynamic_per_token_quant(*o[0], o[1], o[2], o[3], *o[4], *o[5], {0.5, true}, l);
        }}},
      {"rms_norm_per_block_quant",
       {{0.5, 1, 128},
        [](const Operands& o, const Launch& l) {
          rms_norm_per_block_quant(*o[0], o[1], o[2], o[3], *o[4], *o[5], {0.5, true}, 128, l);
        }}},
      {"static_scaled_fp8_quant",
       {{}, [](const Operands& o, const Launch& l) { static_scaled_fp8_quant(*o[0], *o[1], *o[2], l); }}},
      {"dynamic_scaled_fp8_quant",
       {{}, [](const Operands& o, const Launch& l) { dynamic_scaled_fp8_quant(*o[0], *o[1], *o[2], l); }}},
      {"dynamic_per_token_scaled_fp8_quant",
       {{},
        [](const Operands& o, const Launch& l) { dynamic_per_token_scaled_fp8_quant(*o[0], o[1], *o[2], *o[3], l); }}},
      {"static_scaled_int8_quant",
       {{}, [](const Operands& o, const Launch& l) { static_scaled_int8_quant(*o[0], *o[1], o[2], *o[3], l); }}},
      {"dynamic_scaled_int8_quant",
       {{}, [](const Operands& o, const Launch& l) { dynamic_scaled_int8_quant(*o[0], *o[1], *o[2], o[3], l); }}},
      {"per_token_group_fp8_quant",
       {{128, 0.5, 1},
        [](const Operands& o, const Launch& l) {
          per_token_group_fp8_quant(*o[0], o[1], *o[2], *o[3], {128, 0.5, true, false}, l);
        }}},
      {"per_token_group_quant_int8",
       {{128, 0.5, 1},
        [](const Operands& o, const Launch& l) {
          per_token_group_quant_int8(*o[0], o[1], *o[2], *o[3], {128, 0.5, false, true}, l);
        }}},
      {"per_token_group_fp8_quant_packed",
       {{128, 0.5},
        [](const Operands& o, const Launch& l) {
          per_token_group_fp8_quant_packed(*o[0], o[1], *o[2], *o[3], {128, 0.5, false, false}, l);
        }}},
      {"silu_and_mul_quant",
       {{}, [](const Operands& o, const Launch& l) { silu_and_mul_quant(*o[0], *o[1], *o[2], l); }}},
      {"silu_and_mul_per_block_quant",
       {{128},
        [](const Operands& o, const Launch& l) { silu_and_mul_per_block_quant(*o[0], o[1], *o[2], *o[3], 128, l); }}},
      {"persistent_masked_m_silu_mul_quant",
       {{0.5, 1},
        [](const Operands& o,
           const Launch& l) { persistent_masked_m_silu_mul_quant(*o[0], *o[1], *o[2], *o[3], 0.5, true, l); }}},
      {"linear", {{}, [](const Operands&, const Launch&) {}}},        // has a packed weight: below
      {"scaled_linear", {{}, [](const Operands&, const Launch&) {}}}, // the same: tests/linear/scaled_test.cpp
      {"nvfp4_linear", {{}, [](const Operands&, const Launch&) {}}},  // the same: tests/linear/blocks_test.cpp
      {"mxfp4_linear", {{}, [](const Operands&, const Launch&) {}}},
      {"mxfp8_linear", {{}, [](const Operands&, const Launch&) {}}},
  };
  return all;
}

TEST(TypedOps, EveryOpHasOne) {
  for (const OpInfo& op : ops())
    EXPECT_TRUE(typed_functions().count(op.name)) << op.name << " has no typed C++ function, or no entry here";
}

TEST(TypedOps, GiveWhatTheGenericCallGives) {
  for (const OpInfo& op : ops()) {
    if (op.takes_packed_weight || typed_functions().count(op.name) == 0) continue;
    const Typed& typed = typed_functions().at(op.name);
    for (bool with_optional : {true, false}) {
      // Scales go to one of two optional places at least.
      if (!with_optional && op.family == "block_quantize" && op.operands.size() > 2) continue;
      Data a = make(op, with_optional), b = make(op, with_optional);
      const Data untouched = make(op, with_optional);
      const Buffer workspace(1 << 20);
      Launch launch;
      launch.workspace(workspace.data(), workspace.size());
      typed.call(a.operands, launch);
      call(op.name, b.operands, typed.params, launch);
      EXPECT_EQ(a.storage, b.storage) << op.name;
      // Without its optional operands an op may have nothing to do.
      if (with_optional) {
        EXPECT_NE(a.storage, untouched.storage) << op.name << " wrote nothing";
      }
    }
  }
}

TEST(TypedOps, TakeTheDefaultsOfTheManifest) {
  const std::map<std::string, std::function<void(const Operands&)>> defaults = {
      {"rms_norm", [](const Operands& o) { rms_norm(*o[0], o[1], *o[2]); }},
      {"fused_add_rms_norm", [](const Operands& o) { fused_add_rms_norm(*o[0], *o[1], o[2]); }},
      {"layer_norm", [](const Operands& o) { layer_norm(*o[0], o[1], o[2], *o[3]); }},
      {"rms_norm_static_fp8_quant", [](const Operands& o) { rms_norm_static_fp8_quant(*o[0], o[1], *o[2], *o[3]); }},
      {"fused_add_rms_norm_static_fp8_quant",
       [](const Operands& o) { fused_add_rms_norm_static_fp8_quant(*o[0], *o[1], o[2], *o[3], *o[4]); }},
      {"rms_norm_dynamic_per_token_quant",
       [](const Operands& o) { rms_norm_dynamic_per_token_quant(*o[0], o[1], o[2], o[3], *o[4], *o[5]); }},
      {"rms_norm_per_block_quant",
       [](const Operands& o) { rms_norm_per_block_quant(*o[0], o[1], o[2], o[3], *o[4], *o[5]); }},
      {"per_token_group_fp8_quant", [](const Operands& o) { per_token_group_fp8_quant(*o[0], o[1], *o[2], *o[3]); }},
      {"per_token_group_quant_int8", [](const Operands& o) { per_token_group_quant_int8(*o[0], o[1], *o[2], *o[3]); }},
      {"per_token_group_fp8_quant_packed",
       [](const Operands& o) { per_token_group_fp8_quant_packed(*o[0], o[1], *o[2], *o[3]); }},
      {"silu_and_mul_per_block_quant",
       [](const Operands& o) { silu_and_mul_per_block_quant(*o[0], o[1], *o[2], *o[3]); }},
      {"persistent_masked_m_silu_mul_quant",
       [](const Operands& o) { persistent_masked_m_silu_mul_quant(*o[0], *o[1], *o[2], *o[3]); }},
      {"fatrelu_and_mul", [](const Operands& o) { fatrelu_and_mul(*o[0], *o[1]); }},
      {"swigluoai_and_mul", [](const Operands& o) { swigluoai_and_mul(*o[0], *o[1]); }},
      {"mxfp8_experts_quantize",
       [](const Operands& o) {
         mxfp8_experts_quantize(*o[0], {*o[1], *o[2]}, *o[3], *o[4]);
       }},
      {"hadamard_transform", [](const Operands& o) { hadamard_transform(*o[0], *o[1]); }},
      {"rotate_mxfp4_quantize",
       [](const Operands& o) {
         rotate_mxfp4_quantize(*o[0], *o[1], *o[2], {o[3], o[4]});
       }},
      {"mxfp4_quantize",
       [](const Operands& o) {
         mxfp4_quantize(*o[0], *o[1], {o[2], o[3]});
       }},
      {"mxfp8_quantize",
       [](const Operands& o) {
         mxfp8_quantize(*o[0], *o[1], {o[2], o[3]});
       }},
      {"embedding", [](const Operands& o) { embedding(*o[0], *o[1], *o[2]); }},
      {"rotary_embedding", [](const Operands& o) { rotary_embedding(*o[0], *o[1], o[2], *o[3]); }},
      {"rotary_embedding_and_cache",
       [](const Operands& o) {
         rotary_embedding_and_cache(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], *o[6], *o[7], {o[8], o[9]});
       }},
      {"fused_qk_norm_rope", [](const Operands& o) { fused_qk_norm_rope(*o[0], *o[1], *o[2], *o[3], *o[4], {}); }},
      {"convert_fp8", [](const Operands& o) { convert_fp8(*o[0], *o[1]); }},
      {"attention_decode",
       [](const Operands& o) {
         attention_decode(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], {}, {o[6], o[7], o[8], o[9], o[10]});
       }},
      {"paged_attention",
       [](const Operands& o) {
         paged_attention(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], 1.0, 0.0, {o[6], {}, o[7], o[8], o[9]});
       }},
      {"attention_prefill",
       [](const Operands& o) {
         attention_prefill(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], {}, {o[6], o[7], {}, {}, o[8]});
       }},
      {"attention_prefill_paged",
       [](const Operands& o) {
         attention_prefill_paged(*o[0], *o[1], *o[2], *o[3], *o[4], *o[5], *o[6], {}, {o[7], o[8], o[9], o[10], o[11]});
       }},
  };
  for (const OpInfo& op : ops()) {
    if (op.params.empty()) continue;
    ASSERT_TRUE(defaults.count(op.name)) << op.name << " has parameters and no entry here";
    Data a = make(op, true), b = make(op, true);
    defaults.at(op.name)(a.operands);
    call(op.name, b.operands, {}, Launch());
    EXPECT_EQ(a.storage, b.storage) << op.name;
  }
}

TEST(Linear, PlansPacksAndRuns) {
  constexpr int64_t kM = 2, kN = 24, kK = 64;
  std::vector<float> w, x, bias;
  for (int64_t i = 0; i < kN * kK; ++i) w.push_back(static_cast<float>(i * 13 % 31 - 15) / 16);
  for (int64_t i = 0; i < kM * kK; ++i) x.push_back(static_cast<float>(i * 7 % 19 - 9) / 4);
  for (int64_t i = 0; i < kN; ++i) bias.push_back(static_cast<float>(i));
  std::vector<float> out(kM * kN), generic(kM * kN);
  const Tensor x_view = view(x.data(), {kM, kK}), out_view = view(out.data(), {kM, kN});
  for (const char* format : {"f32", "int8-g128", "q8_0"}) {
    const QuantizedWeight quantized = QuantizedWeight::quantize(quant_scheme(format), kN, kK, w.data());
    const Plan plan = plan_linear(x_view, quantized.scheme(), kN, kK, view(bias.data(), {kN}), out_view);
    ASSERT_TRUE(plan) << format;
    const PackedWeight packed = PackedWeight::pack(quantized, plan.layout());
    const Buffer workspace(plan.workspace_bytes());
    Launch launch;
    launch.workspace(workspace.data(), workspace.size());
    linear(x_view, packed, view(bias.data(), {kN}), out_view, launch);
    call("linear", {x_view, view(bias.data(), {kN}), view(generic.data(), {kM, kN})}, {}, launch, packed.get());
    EXPECT_EQ(out, generic) << format;
    const std::vector<float> values = quantized.dequantize();
    for (int64_t m = 0; m < kM; ++m)
      for (int64_t n = 0; n < kN; ++n) {
        double exact = bias[static_cast<size_t>(n)];
        for (int64_t k = 0; k < kK; ++k)
          exact += static_cast<double>(x[static_cast<size_t>(m * kK + k)]) * values[static_cast<size_t>(n * kK + k)];
        EXPECT_NEAR(out[static_cast<size_t>(m * kN + n)], exact, 0.02) << format;
      }
  }
}

TEST(Linear, PlansForADeviceThatIsNotHere) {
  const Tensor x(nullptr, SPF_BF16, {4, 256}), out(nullptr, SPF_BF16, {4, 64});
  const Plan plan =
      plan_linear(x, quant_scheme("int4-g128"), 64, 256, std::nullopt, out, Launch(), facts("cpu:x86-64"));
  EXPECT_EQ(plan.op(), "linear");
  EXPECT_NE(plan.layout(), "");
}

TEST(Linear, AWorkspaceThatIsTooSmallIsNamed) {
  const std::vector<float> w(64 * 256, 0.5f);
  const QuantizedWeight quantized = QuantizedWeight::quantize(quant_scheme("int4-g128"), 64, 256, w.data());
  std::vector<float> x(4 * 256, 1.0f), out(4 * 64, -7.0f);
  const Tensor x_view = view(x.data(), {4, 256}), out_view = view(out.data(), {4, 64});
  const Plan plan = plan_linear(x_view, quantized.scheme(), 64, 256, std::nullopt, out_view);
  if (plan.workspace_bytes() == 0) GTEST_SKIP() << plan.kernel() << " needs no workspace";
  const PackedWeight packed = PackedWeight::pack(quantized, plan.layout());
  try {
    linear(x_view, packed, std::nullopt, out_view);
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), SPF_WORKSPACE_TOO_SMALL);
    EXPECT_EQ(e.field(), "workspace_bytes");
    EXPECT_NE(e.allowed().find(std::to_string(plan.workspace_bytes())), std::string::npos);
  }
  EXPECT_EQ(out, std::vector<float>(4 * 64, -7.0f)) << "a refused call wrote";
}

} // namespace
} // namespace spearfish

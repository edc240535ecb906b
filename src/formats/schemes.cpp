// The schemes that have a name: what a user quantizes to.
#include <array>

#include "formats/quantize.hpp"

namespace spf::formats {
namespace {

constexpr spf_quant_scheme scheme(spf_format format, spf_scalar_type weight, spf_scalar_type scale, int32_t group_k,
                                  int32_t group_n = 1, spf_zero_point_kind zero = SPF_ZERO_NONE,
                                  int32_t has_global_scale = 0) {
  return {sizeof(spf_quant_scheme), format, weight,           scale, zero, group_k, group_n, 0,
          has_global_scale,         0,      SPF_SPARSITY_NONE};
}

constexpr spf_quant_scheme integer(spf_scalar_type weight, int32_t group_k) {
  return scheme(SPF_FORMAT_CT_INT, weight, SPF_F16, group_k, 1,
                weight == SPF_U4 || weight == SPF_U8 ? SPF_ZERO_INTEGER : SPF_ZERO_NONE);
}

constexpr spf_quant_scheme gguf(spf_format format, spf_scalar_type weight, int32_t group_k, spf_zero_point_kind zero) {
  return scheme(format, weight, SPF_F16, group_k, 1, zero);
}

constexpr std::array kNamed = {
    NamedScheme{"bf16", scheme(SPF_FORMAT_PLAIN, SPF_BF16, SPF_TYPE_NONE, -1)},
    NamedScheme{"f16", scheme(SPF_FORMAT_PLAIN, SPF_F16, SPF_TYPE_NONE, -1)},
    NamedScheme{"f32", scheme(SPF_FORMAT_PLAIN, SPF_F32, SPF_TYPE_NONE, -1)},
    NamedScheme{"int4-g128", integer(SPF_U4B8, 128)},
    NamedScheme{"int4-g64", integer(SPF_U4B8, 64)},
    NamedScheme{"int4-g32", integer(SPF_U4B8, 32)},
    NamedScheme{"int4-g32-asym", integer(SPF_U4, 32)},
    NamedScheme{"int4-g128-asym", integer(SPF_U4, 128)},
    NamedScheme{"int4-channel", integer(SPF_U4B8, -1)},
    NamedScheme{"int8", integer(SPF_U8B128, -1)},
    NamedScheme{"int8-g128", integer(SPF_U8B128, 128)},
    NamedScheme{"s8-channel", scheme(SPF_FORMAT_CT_INT, SPF_S8, SPF_F32, -1)},
    NamedScheme{"fp8", scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, -1, -1)},
    NamedScheme{"fp8-channel", scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, -1)},
    NamedScheme{"fp8-block", scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, 128, 128)},
    NamedScheme{"nvfp4", scheme(SPF_FORMAT_NVFP4, SPF_E2M1, SPF_E4M3, 16, 1, SPF_ZERO_NONE, 1)},
    NamedScheme{"mxfp4", scheme(SPF_FORMAT_MXFP4, SPF_E2M1, SPF_E8M0, 32)},
    NamedScheme{"mxfp8", scheme(SPF_FORMAT_MXFP8, SPF_E4M3, SPF_E8M0, 32)},
    NamedScheme{"q4_0", gguf(SPF_FORMAT_Q4_0, SPF_U4B8, 32, SPF_ZERO_NONE)},
    NamedScheme{"q4_1", gguf(SPF_FORMAT_Q4_1, SPF_U4, 32, SPF_ZERO_MINIMUM)},
    NamedScheme{"q5_0", gguf(SPF_FORMAT_Q5_0, SPF_S8, 32, SPF_ZERO_NONE)},
    NamedScheme{"q5_1", gguf(SPF_FORMAT_Q5_1, SPF_U8, 32, SPF_ZERO_MINIMUM)},
    NamedScheme{"q8_0", gguf(SPF_FORMAT_Q8_0, SPF_S8, 32, SPF_ZERO_NONE)},
    NamedScheme{"q2_k", gguf(SPF_FORMAT_Q2_K, SPF_U4, 16, SPF_ZERO_MINIMUM)},
    NamedScheme{"q3_k", gguf(SPF_FORMAT_Q3_K, SPF_U4B8, 16, SPF_ZERO_NONE)},
    NamedScheme{"q4_k", gguf(SPF_FORMAT_Q4_K, SPF_U4, 32, SPF_ZERO_MINIMUM)},
    NamedScheme{"q5_k", gguf(SPF_FORMAT_Q5_K, SPF_U8, 32, SPF_ZERO_MINIMUM)},
    NamedScheme{"q6_k", gguf(SPF_FORMAT_Q6_K, SPF_S8, 16, SPF_ZERO_NONE)},
};

constexpr spf_quant_scheme iq(spf_format format, int32_t group_k) {
  return gguf(format, SPF_S8, group_k, SPF_ZERO_NONE);
}

constexpr std::array kDecodeOnly = {
    NamedScheme{"iq2_xxs", iq(SPF_FORMAT_IQ2_XXS, 32)}, NamedScheme{"iq2_xs", iq(SPF_FORMAT_IQ2_XS, 16)},
    NamedScheme{"iq2_s", iq(SPF_FORMAT_IQ2_S, 16)},     NamedScheme{"iq3_xxs", iq(SPF_FORMAT_IQ3_XXS, 32)},
    NamedScheme{"iq3_s", iq(SPF_FORMAT_IQ3_S, 32)},     NamedScheme{"iq1_s", iq(SPF_FORMAT_IQ1_S, 32)},
    NamedScheme{"iq1_m", iq(SPF_FORMAT_IQ1_M, 16)},     NamedScheme{"iq4_nl", iq(SPF_FORMAT_IQ4_NL, 32)},
    NamedScheme{"iq4_xs", iq(SPF_FORMAT_IQ4_XS, 32)},
};

constexpr spf_quant_scheme two_of_four(spf_quant_scheme s) {
  s.sparsity = SPF_SPARSITY_2_OF_4;
  return s;
}

constexpr std::array kUnlisted = {
    NamedScheme{"mxfp8-e5m2", scheme(SPF_FORMAT_MXFP8, SPF_E5M2, SPF_E8M0, 32)},
    NamedScheme{"bf16-2of4", two_of_four(scheme(SPF_FORMAT_PLAIN, SPF_BF16, SPF_TYPE_NONE, -1))},
    NamedScheme{"f16-2of4", two_of_four(scheme(SPF_FORMAT_PLAIN, SPF_F16, SPF_TYPE_NONE, -1))},
    NamedScheme{"int8-2of4", two_of_four(integer(SPF_U8B128, -1))},
    NamedScheme{"s8-channel-2of4", two_of_four(scheme(SPF_FORMAT_CT_INT, SPF_S8, SPF_F32, -1))},
    NamedScheme{"fp8-2of4", two_of_four(scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, -1, -1))},
    NamedScheme{"fp8-channel-2of4", two_of_four(scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, -1))},
};

} // namespace

std::span<const NamedScheme> named_schemes() { return kNamed; }
std::span<const NamedScheme> decode_only_schemes() { return kDecodeOnly; }
std::span<const NamedScheme> unlisted_schemes() { return kUnlisted; }

} // namespace spf::formats

// Which formats the Marlin layouts can hold at all: for the packer, and for the policies of kernels that read them.
#pragma once

#include "spearfish/quant.h"

namespace spf {

// Integers, fp8, NVFP4, MXFP4, and GGUF formats with one f16 scale a block.
constexpr bool has_marlin_form(spf_format format) {
  switch (format) {
    case SPF_FORMAT_GPTQ:
    case SPF_FORMAT_GPTQ_V2:
    case SPF_FORMAT_AWQ:
    case SPF_FORMAT_CT_INT:
    case SPF_FORMAT_FP8:
    case SPF_FORMAT_NVFP4:
    case SPF_FORMAT_MXFP4:
    case SPF_FORMAT_Q4_0:
    case SPF_FORMAT_Q5_0:
    case SPF_FORMAT_Q8_0:
    case SPF_FORMAT_IQ4_NL:
      return true;
    default:
      return false;
  }
}

} // namespace spf

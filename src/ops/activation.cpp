#include "spearfish/ops/activation.h"

namespace {

// Every activation takes x and out, and writes its parameters in schema order.
spf_status call(const char* op, const spf_tensor* x, const spf_tensor* out, const double* params, int32_t param_count,
                const spf_launch* launch) {
  const spf_tensor* operands[] = {x, out};
  return spf_op_call(op, operands, 2, params, param_count, nullptr, launch);
}

} // namespace

// Those without parameters differ in their names only.
#define SPF_PLAIN_ACTIVATION(name)                                                              \
  spf_status spf_##name(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) { \
    return call(#name, x, out, nullptr, 0, launch);                                             \
  }

extern "C" {

SPF_PLAIN_ACTIVATION(silu_and_mul)
SPF_PLAIN_ACTIVATION(mul_and_silu)
SPF_PLAIN_ACTIVATION(gelu_and_mul)
SPF_PLAIN_ACTIVATION(gelu_tanh_and_mul)
SPF_PLAIN_ACTIVATION(silu)
SPF_PLAIN_ACTIVATION(gelu)
SPF_PLAIN_ACTIVATION(gelu_tanh)
SPF_PLAIN_ACTIVATION(gelu_new)
SPF_PLAIN_ACTIVATION(gelu_fast)
SPF_PLAIN_ACTIVATION(gelu_quick)

spf_status spf_fatrelu_and_mul(const spf_tensor* x, const spf_tensor* out, double threshold, const spf_launch* launch) {
  return call("fatrelu_and_mul", x, out, &threshold, 1, launch);
}

spf_status spf_swigluoai_and_mul(const spf_tensor* x, const spf_tensor* out, double alpha, double limit,
                                 const spf_launch* launch) {
  const double params[] = {alpha, limit};
  return call("swigluoai_and_mul", x, out, params, 2, launch);
}

} // extern "C"

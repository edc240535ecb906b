#include "spearfish/ops/activation.h"

namespace {

// Every activation takes x and out, and writes its parameters in schema order.
spf_status call(const char* op, const spf_tensor* x, const spf_tensor* out, const double* params, int32_t param_count,
                const spf_launch* launch) {
  const spf_tensor* operands[] = {x, out};
  return spf_op_call(op, operands, 2, params, param_count, nullptr, launch);
}

} // namespace

extern "C" {

spf_status spf_silu_and_mul(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("silu_and_mul", x, out, nullptr, 0, launch);
}

spf_status spf_mul_and_silu(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("mul_and_silu", x, out, nullptr, 0, launch);
}

spf_status spf_gelu_and_mul(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu_and_mul", x, out, nullptr, 0, launch);
}

spf_status spf_gelu_tanh_and_mul(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu_tanh_and_mul", x, out, nullptr, 0, launch);
}

spf_status spf_fatrelu_and_mul(const spf_tensor* x, const spf_tensor* out, double threshold, const spf_launch* launch) {
  return call("fatrelu_and_mul", x, out, &threshold, 1, launch);
}

spf_status spf_swigluoai_and_mul(const spf_tensor* x, const spf_tensor* out, double alpha, double limit,
                                 const spf_launch* launch) {
  const double params[] = {alpha, limit};
  return call("swigluoai_and_mul", x, out, params, 2, launch);
}

spf_status spf_silu(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("silu", x, out, nullptr, 0, launch);
}

spf_status spf_gelu(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu", x, out, nullptr, 0, launch);
}

spf_status spf_gelu_tanh(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu_tanh", x, out, nullptr, 0, launch);
}

spf_status spf_gelu_new(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu_new", x, out, nullptr, 0, launch);
}

spf_status spf_gelu_fast(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu_fast", x, out, nullptr, 0, launch);
}

spf_status spf_gelu_quick(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch) {
  return call("gelu_quick", x, out, nullptr, 0, launch);
}

} // extern "C"

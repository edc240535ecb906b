// Which linear kernel runs, with its workspace. Costs are microseconds.
//
// A CPU kernel's cost is the larger of the time to stream the packed weight and the time to multiply, plus the time to
// prepare activations and to decode weights. Rates are those measured on two vCPUs of a Sapphire Rapids Xeon, one
// core's two threads; other CPUs scale all kernels alike, and only the order matters.
#pragma once

#include "kernels/common/policy.hpp"
#include "kernels/linear/policy_blocks.hpp"
#include "kernels/linear/policy_cuda.hpp"
#include "kernels/linear/policy_cutlass.hpp"
#include "kernels/linear/policy_mma8.hpp"
#include "kernels/linear/policy_scaled.hpp"
#include "kernels/linear/policy_sparse.hpp"
#include "kernels/linear/workspace.hpp"

namespace spf::linear {

struct Shape {
  int64_t m, n, k;
  CpuPacked weight;
};

// The packed geometry of a problem; a refusal if cpu_n16 cannot hold the scheme.
inline bool cpu_shape(const Problem& problem, Shape* shape, PolicyResult* refusal) {
  const char* why = "";
  if (!cpu_packed_accepts(problem.scheme, &why)) {
    *refusal = policy::refuse("type", why);
    return false;
  }
  shape->m = problem.extent("*");
  shape->n = problem.extent("N");
  shape->k = problem.extent("K");
  shape->weight = cpu_packed_layout(problem.scheme, shape->n, shape->k);
  return true;
}

// bytes_per_us: of memory; macs_per_us: multiply-adds; segment_ns: work per segment, row and n16 block besides.
struct CpuRate {
  double macs_per_us;
  double segment_ns;
  double decode_ns; // per 64-byte vector of weights and pass
};

inline double cpu_cost(const Shape& s, const CpuRate& rate, int64_t rows_at_a_time) {
  constexpr double kBytesPerUs = 17e3;
  const CpuPacked& p = s.weight;
  const auto m = static_cast<double>(s.m);
  const double bytes = static_cast<double>(p.code_bytes + p.scale_bytes + p.zero_bytes);
  const double passes = static_cast<double>((s.m + rows_at_a_time - 1) / rows_at_a_time);
  const double segments = static_cast<double>(p.segments) * static_cast<double>(p.blocks_n);
  const double compute = m * static_cast<double>(p.blocks_n * 16) * static_cast<double>(p.padded_k) / rate.macs_per_us +
                         m * segments * rate.segment_ns * 1e-3 +
                         passes * static_cast<double>(p.code_bytes) / 64 * rate.decode_ns * 1e-3;
  const double prepare = m * static_cast<double>(p.padded_k) * 0.5e-3;
  const double stream = passes * bytes / kBytesPerUs;
  return 5.0 + prepare + (compute > stream ? compute : stream);
}

// The problem as an integer kernel wants it, or a refusal.
inline bool integer_shape(const Problem& problem, Shape* s, PolicyResult* refusal) {
  if (!cpu_shape(problem, s, refusal)) return false;
  if (s->weight.integer) return true;
  *refusal = policy::refuse("type", "reads integer weights of 4 or 8 bits");
  return false;
}

inline PolicyResult amx_integer_policy(const Problem& problem, const spf_device_facts& facts, int planes) {
  Shape s;
  PolicyResult result;
  if (!integer_shape(problem, &s, &result)) return result;
  const IntegerWorkspace ws = amx_workspace(s.weight, s.m, planes, workspace_threads(facts));
  // A tile costs the same however few of its rows are used.
  s.m = (s.m * planes + 15) / 16 * 16;
  // One tile of rows waits for each product; several overlap.
  const double segment_ns = s.m <= 16 ? 2.5 : 1.5;
  result = policy::accept(0, 2.0 + cpu_cost(s, {3500e3, segment_ns, 1.5}, ws.rows * planes));
  result.workspace_bytes = static_cast<size_t>(ws.bytes);
  return result;
}
inline PolicyResult amx_s8_policy(const Problem& problem, const spf_device_facts& facts, std::span<const InstanceRow>) {
  return amx_integer_policy(problem, facts, 1);
}
inline PolicyResult amx_s16_policy(const Problem& problem, const spf_device_facts& facts,
                                   std::span<const InstanceRow>) {
  return amx_integer_policy(problem, facts, 2);
}

inline PolicyResult integer_policy(const Problem& problem, const spf_device_facts&, int planes, const CpuRate& rate,
                                   int64_t (*rows_for)(int64_t)) {
  Shape s;
  PolicyResult result;
  if (!integer_shape(problem, &s, &result)) return result;
  const int64_t rows = rows_for(s.m);
  result = policy::accept(0, cpu_cost(s, rate, rows));
  result.workspace_bytes = static_cast<size_t>(integer_workspace(s.weight, rows, planes, 0, 0).bytes);
  return result;
}
inline PolicyResult avx512_s8_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow>) {
  return integer_policy(problem, facts, 1, {470e3, 2.0, 1.0}, avx512_int_rows);
}
inline PolicyResult avx512_s16_policy(const Problem& problem, const spf_device_facts& facts,
                                      std::span<const InstanceRow>) {
  return integer_policy(problem, facts, 2, {235e3, 2.5, 1.0}, avx512_int_rows);
}
inline PolicyResult avx2_s8_policy(const Problem& problem, const spf_device_facts& facts,
                                   std::span<const InstanceRow>) {
  return integer_policy(problem, facts, 2, {150e3, 4.0, 1.0}, avx2_int_rows);
}
inline PolicyResult avx2_s16_policy(const Problem& problem, const spf_device_facts& facts,
                                    std::span<const InstanceRow>) {
  return integer_policy(problem, facts, 2, {90e3, 4.0, 1.0}, avx2_int_rows);
}

inline PolicyResult float_policy(const Problem& problem, const CpuRate& rate) {
  Shape s;
  PolicyResult result;
  if (!cpu_shape(problem, &s, &result)) return result;
  if (problem.type("O") == SPF_E4M3) return policy::refuse("type", "writes f32, f16 and bf16");
  if (problem.has("azp_adj")) return policy::refuse("type", "takes no zero points");
  const FloatWorkspace ws = float_workspace(s.weight, s.m);
  result = policy::accept(0, cpu_cost(s, rate, ws.rows));
  result.workspace_bytes = static_cast<size_t>(ws.bytes);
  return result;
}
inline PolicyResult avx512_f32_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return float_policy(problem, {80e3, 0, 20.0});
}
inline PolicyResult avx2_f32_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return float_policy(problem, {40e3, 0, 40.0});
}
inline PolicyResult portable_f32_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return float_policy(problem, {8e3, 0, 150.0});
}

inline PolicyResult bf16_policy(const Problem& problem, const spf_device_facts& facts, const CpuRate& rate, bool amx) {
  Shape s;
  PolicyResult result;
  if (!cpu_shape(problem, &s, &result)) return result;
  if (s.weight.codes != CpuCodes::kBF16 && s.weight.codes != CpuCodes::kE4M3 && s.weight.codes != CpuCodes::kE5M2)
    return policy::refuse("type", "reads bf16 and 8-bit floating-point weights");
  const bool given = problem.has("x_scale"); // e4m3 codes are bf16 numbers
  const int terms = given || problem.type("T") == SPF_BF16 ? 1 : 2, threads = workspace_threads(facts);
  const Bf16Workspace ws =
      amx ? amx_bf16_workspace(s.weight, s.m, terms, threads) : avx512_bf16_workspace(s.weight, s.m, terms, threads);
  if (amx) s.m = (s.m + 15) / 16 * 16;
  s.m *= terms;
  result = policy::accept(0, (amx ? 2.0 : 0.0) + cpu_cost(s, rate, ws.rows * terms));
  result.workspace_bytes = static_cast<size_t>(ws.bytes);
  return result;
}
inline PolicyResult amx_bf16_policy(const Problem& problem, const spf_device_facts& facts,
                                    std::span<const InstanceRow>) {
  return bf16_policy(problem, facts, {1500e3, 0.5, 2.0}, true);
}
inline PolicyResult avx512_bf16_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow>) {
  return bf16_policy(problem, facts, {85e3, 1.0, 2.0}, false);
}

// --- scaled_linear: the same kernels on codes that are given

// Whether an integer kernel may take the codes of x as they are.
inline bool takes_given_integers(const Problem& problem, PolicyResult* refusal) {
  Shape s;
  if (!integer_shape(problem, &s, refusal)) return false;
  if (problem.type("X") != SPF_S8)
    *refusal = policy::refuse("type", "takes s8 activations");
  else if (problem.type("O") == SPF_E4M3)
    *refusal = policy::refuse("type", "writes f32, f16 and bf16");
  else if (problem.extent("G") > 1 && (s.weight.gathered || kScaleColumns % s.weight.segment_k != 0))
    *refusal = policy::refuse("shape", "takes scales of 128 columns where groups of the weight divide them");
  else
    return true;
  return false;
}
template <PolicyFn kPolicy>
PolicyResult given_integer_policy(const Problem& problem, const spf_device_facts& facts,
                                  std::span<const InstanceRow> instances) {
  PolicyResult refusal;
  return takes_given_integers(problem, &refusal) ? kPolicy(problem, facts, instances) : refusal;
}
inline PolicyResult amx_a8_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow> i) {
  return given_integer_policy<amx_s8_policy>(p, f, i);
}
inline PolicyResult avx512_a8_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow> i) {
  return given_integer_policy<avx512_s8_policy>(p, f, i);
}
inline PolicyResult avx2_a8_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow> i) {
  return given_integer_policy<avx2_s8_policy>(p, f, i);
}

// e4m3 codes as bf16, their scale on the sums.
inline PolicyResult given_bf16_policy(const Problem& problem, const spf_device_facts& facts, const CpuRate& rate,
                                      bool amx) {
  if (problem.type("X") != SPF_E4M3) return policy::refuse("type", "takes e4m3 activations");
  if (problem.type("O") == SPF_E4M3) return policy::refuse("type", "writes f32, f16 and bf16");
  if (problem.extent("G") > 1) return policy::refuse("shape", "takes one scale a token");
  return bf16_policy(problem, facts, rate, amx);
}
inline PolicyResult amx_e4m3_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow>) {
  return given_bf16_policy(p, f, {1500e3, 0.5, 2.0}, true);
}
inline PolicyResult avx512_e4m3_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow>) {
  return given_bf16_policy(p, f, {85e3, 1.0, 2.0}, false);
}

// Scalar loops with double accumulation; one decoded row of W as workspace.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  const auto n = static_cast<double>(problem.extent("N")), k = static_cast<double>(problem.extent("K"));
  PolicyResult result = policy::accept(0, 5.0 + n * k * (10e-3 + 1.5e-3 * static_cast<double>(problem.extent("*"))));
  result.workspace_bytes = static_cast<size_t>(problem.extent("K")) * sizeof(float);
  return result;
}

} // namespace spf::linear

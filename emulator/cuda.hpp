// What nvcc gives device code without asking, for kernels that g++ compiles for the emulated device. The build includes
// it before everything else (-include), with SPF_EMULATED_ARCH as __CUDA_ARCH__.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "emulator/launch.hpp"
#include "emulator/machine.hpp"

// --- language
// ------------------------------------------------------------------------------------------------------------

#undef __shared__
#define __shared__ thread_local // of the block's OS thread; static, as block scope makes it
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __grid_constant__
#define __grid_constant__
#define __CUDA_ARCH__ SPF_EMULATED_ARCH
#define cudaLaunchKernelEx ::spf::emulated::launch_kernel

#define threadIdx (::spf::emulated::current->index)
#define blockIdx (::spf::emulated::block_index())
inline constexpr int warpSize = 32;

// Objects, as cudaLaunchConfig_t has members of these names.
namespace spf::emulated {
template <const dim3& (*kSize)()>
struct Size {
  template <unsigned dim3::*kExtent>
  struct Extent {
    operator unsigned() const { return kSize().*kExtent; }
  };
  Extent<&dim3::x> x;
  Extent<&dim3::y> y;
  Extent<&dim3::z> z;
};
} // namespace spf::emulated
inline constexpr spf::emulated::Size<&spf::emulated::block_dim> blockDim;
inline constexpr spf::emulated::Size<&spf::emulated::grid_dim> gridDim;

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

// --- barriers and fences
// -------------------------------------------------------------------------------------------------

inline void __syncthreads() { spf::emulated::block_barrier(0, 0, "__syncthreads"); }
inline int __syncthreads_count(int p) { return spf::emulated::block_barrier_count(p != 0, "__syncthreads_count"); }
inline int __syncthreads_or(int p) { return spf::emulated::block_barrier_count(p != 0, "__syncthreads_or") > 0; }
inline int __syncthreads_and(int p) { return spf::emulated::block_barrier_count(p == 0, "__syncthreads_and") == 0; }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_block() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_system() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __nanosleep(unsigned) { spf::emulated::yield(); }
[[noreturn]] inline void __trap() { spf::emulated::fault("__trap"); }
inline long long clock64() { return 0; }

// --- warps
// ---------------------------------------------------------------------------------------------------------------

namespace spf::emulated {

struct Exchange {
  unsigned char value[16];
  unsigned char result[16];
  int from; // lane; outside 0..31: its own value
  uint32_t votes;
  int64_t number;
};

inline void nothing(Exchange* const (&)[32], uint32_t) {}
inline void exchange(Exchange* const (&lanes)[32], uint32_t mask) {
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) == 0) continue;
    const int from = lanes[i]->from;
    // The value of a lane that takes no part is undefined.
    if (from < 0 || from > 31)
      std::memcpy(lanes[i]->result, lanes[i]->value, 16);
    else if (lanes[from] == nullptr)
      std::memset(lanes[i]->result, 0xff, 16);
    else
      std::memcpy(lanes[i]->result, lanes[from]->value, 16);
  }
}

template <class T>
T shuffle(const char* what, uint32_t mask, T value, int from) {
  static_assert(sizeof(T) <= 16 && std::is_trivially_copyable_v<T>);
  Exchange e;
  std::memcpy(e.value, &value, sizeof(T));
  e.from = from;
  collective<Exchange, &exchange>(what, mask, &e);
  std::memcpy(&value, e.result, sizeof(T));
  return value;
}

inline void vote(Exchange* const (&lanes)[32], uint32_t mask) {
  uint32_t votes = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) != 0 && lanes[i]->number != 0) votes |= 1u << i;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) != 0) {
      lanes[i]->votes = votes;
      lanes[i]->from = static_cast<int>(mask);
    }
}
inline Exchange voted(const char* what, uint32_t mask, bool value) {
  Exchange e = {};
  e.number = value ? 1 : 0;
  collective<Exchange, &vote>(what, mask, &e);
  return e;
}

inline void match(Exchange* const (&lanes)[32], uint32_t mask) {
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) == 0) continue;
    lanes[i]->votes = 0;
    for (int j = 0; j < 32; ++j)
      if ((mask >> j & 1) != 0 && lanes[i]->number == lanes[j]->number) lanes[i]->votes |= 1u << j;
  }
}

enum class Reduction { kAdd, kMin, kMax, kAnd, kOr, kXor };
template <Reduction kHow, class T>
void reduce(Exchange* const (&lanes)[32], uint32_t mask) {
  bool first = true;
  T sum = {};
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) == 0) continue;
    const T v = static_cast<T>(lanes[i]->number);
    if (first)
      sum = v;
    else if constexpr (kHow == Reduction::kAdd)
      sum += v;
    else if constexpr (kHow == Reduction::kMin)
      sum = std::min(sum, v);
    else if constexpr (kHow == Reduction::kMax)
      sum = std::max(sum, v);
    else if constexpr (kHow == Reduction::kAnd)
      sum &= v;
    else if constexpr (kHow == Reduction::kOr)
      sum |= v;
    else
      sum ^= v;
    first = false;
  }
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) != 0) lanes[i]->number = static_cast<int64_t>(sum);
}
template <Reduction kHow, class T>
T reduced(const char* what, uint32_t mask, T value) {
  Exchange e = {};
  e.number = static_cast<int64_t>(value);
  collective<Exchange, &reduce<kHow, T>>(what, mask, &e);
  return static_cast<T>(e.number);
}

} // namespace spf::emulated

// A lane reads within its part of `width` lanes, its own value where that would be left.
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  const int self = spf::emulated::current->lane;
  return spf::emulated::shuffle("__shfl_sync", mask, value, self / width * width + (lane & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const int self = spf::emulated::current->lane, from = self ^ lane_mask;
  return spf::emulated::shuffle("__shfl_xor_sync", mask, value, from / width > self / width ? self : from);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int self = spf::emulated::current->lane, from = self - static_cast<int>(delta);
  return spf::emulated::shuffle("__shfl_up_sync", mask, value, from < self / width * width ? self : from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int self = spf::emulated::current->lane, from = self + static_cast<int>(delta);
  return spf::emulated::shuffle("__shfl_down_sync", mask, value, from >= (self / width + 1) * width ? self : from);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  spf::emulated::Exchange e;
  spf::emulated::collective<spf::emulated::Exchange, &spf::emulated::nothing>("__syncwarp", mask, &e);
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  return spf::emulated::voted("__ballot_sync", mask, p != 0).votes;
}
inline int __any_sync(unsigned mask, int p) { return spf::emulated::voted("__any_sync", mask, p != 0).votes != 0; }
inline int __all_sync(unsigned mask, int p) {
  const spf::emulated::Exchange e = spf::emulated::voted("__all_sync", mask, p != 0);
  return e.votes == static_cast<uint32_t>(e.from);
}
inline unsigned __activemask() { return spf::emulated::lanes_of_warp(); }
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  spf::emulated::Exchange e = {};
  std::memcpy(&e.number, &value, sizeof value);
  spf::emulated::collective<spf::emulated::Exchange, &spf::emulated::match>("__match_any_sync", mask, &e);
  return e.votes;
}
template <class T>
T __reduce_add_sync(unsigned mask, T v) {
  return spf::emulated::reduced<spf::emulated::Reduction::kAdd>("__reduce_add_sync", mask, v);
}
template <class T>
T __reduce_min_sync(unsigned mask, T v) {
  return spf::emulated::reduced<spf::emulated::Reduction::kMin>("__reduce_min_sync", mask, v);
}
template <class T>
T __reduce_max_sync(unsigned mask, T v) {
  return spf::emulated::reduced<spf::emulated::Reduction::kMax>("__reduce_max_sync", mask, v);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned v) {
  return spf::emulated::reduced<spf::emulated::Reduction::kAnd>("__reduce_and_sync", mask, v);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v) {
  return spf::emulated::reduced<spf::emulated::Reduction::kOr>("__reduce_or_sync", mask, v);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v) {
  return spf::emulated::reduced<spf::emulated::Reduction::kXor>("__reduce_xor_sync", mask, v);
}

// --- memory
// --------------------------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
// What other blocks write is read anew each time; whoever polls lets others run.
template <class T>
T __ldcg(const T* p) {
  std::atomic_thread_fence(std::memory_order_acquire);
  T value;
  std::memcpy(&value, const_cast<const T*>(p), sizeof value);
  return value;
}
template <class T>
T __ldcv(const T* p) {
  return __ldcg(p);
}
template <class T>
void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
void __stcg(T* p, T v) {
  *p = v;
}
template <class T>
void __stwt(T* p, T v) {
  *p = v;
}
inline size_t __cvta_generic_to_shared(const void* p) { return spf::emulated::shared_address(p); }

// --- atomics
// -------------------------------------------------------------------------------------------------------------

template <class T, class F>
T spf_emulated_update(T* p, F&& change) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  using Word = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
  auto* const word = reinterpret_cast<Word*>(p);
  Word before = __atomic_load_n(word, __ATOMIC_SEQ_CST);
  while (true) {
    T old;
    std::memcpy(&old, &before, sizeof old);
    const T changed = change(old);
    Word after;
    std::memcpy(&after, &changed, sizeof after);
    if (__atomic_compare_exchange_n(word, &before, after, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return old;
  }
}
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return static_cast<T>(old + v); });
}
template <class T>
T atomicSub(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return static_cast<T>(old - v); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return v < old ? v : old; });
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return static_cast<T>(old & v); });
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return static_cast<T>(old | v); });
}
template <class T>
T atomicXor(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T old) { return static_cast<T>(old ^ v); });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return spf_emulated_update(p, [=](T old) { return old == expected ? v : old; });
}
inline unsigned atomicInc(unsigned* p, unsigned v) {
  return spf_emulated_update(p, [v](unsigned old) { return old >= v ? 0u : old + 1; });
}

// --- integers
// ------------------------------------------------------------------------------------------------------------

inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>(int64_t{a} * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline int __clzll(long long v) { return std::countl_zero(static_cast<unsigned long long>(v)); }
inline int __ffs(int v) { return v == 0 ? 0 : std::countr_zero(static_cast<unsigned>(v)) + 1; }
inline int __ffsll(long long v) { return v == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(v)) + 1; }
inline unsigned __brev(unsigned v) {
  unsigned out = 0;
  for (int i = 0; i < 32; ++i) out |= (v >> i & 1) << (31 - i);
  return out;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned s = selector >> (4 * i) & 15;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (s & 7))) & 0xff;
    if ((s & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
    out |= byte << (8 * i);
  }
  return out;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31));
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i) c += (a >> (8 * i) & 0xff) * (b >> (8 * i) & 0xff);
  return c;
}

// --- floating point
// ------------------------------------------------------------------------------------------------------

inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long v) { return std::bit_cast<double>(v); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
// Arithmetic leaves one NaN, which is positive, as the device does; x86 keeps an operand's, or makes a negative one.
inline float __fmul_rn(float a, float b) {
  const float product = a * b;
  return product == product ? product : std::bit_cast<float>(0x7fffffffu);
}
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fsqrt_rn(float v) { return std::sqrt(v); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float v) { return std::exp(v); }
inline float __exp10f(float v) { return static_cast<float>(std::pow(10.0, v)); }
inline float __logf(float v) { return std::log(v); }
inline float __log2f(float v) { return std::log2(v); }
inline float __sinf(float v) { return std::sin(v); }
inline float __cosf(float v) { return std::cos(v); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __saturatef(float v) { return !(v > 0) ? 0.0f : v < 1.0f ? v : 1.0f; }
inline float rsqrtf(float v) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(v))); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline int __float2int_rn(float v) {
  return std::isnan(v)
             ? 0
             : static_cast<int>(std::clamp(std::nearbyint(static_cast<double>(v)), -2147483648.0, 2147483647.0));
}
inline int __float2int_rz(float v) {
  return std::isnan(v) ? 0
                       : static_cast<int>(std::clamp(std::trunc(static_cast<double>(v)), -2147483648.0, 2147483647.0));
}
inline int __float2int_rd(float v) { return __float2int_rz(std::floor(v)); }
inline int __float2int_ru(float v) { return __float2int_rz(std::ceil(v)); }
inline unsigned __float2uint_rn(float v) {
  return std::isnan(v) ? 0
                       : static_cast<unsigned>(std::clamp(std::nearbyint(static_cast<double>(v)), 0.0, 4294967295.0));
}
inline unsigned __float2uint_rz(float v) {
  return std::isnan(v) ? 0 : static_cast<unsigned>(std::clamp(std::trunc(static_cast<double>(v)), 0.0, 4294967295.0));
}
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;

// Multiply-add of 16-bit pairs, which the toolkit's headers give to devices only: rounded once.
inline __half __hfma(__half a, __half b, __half c) {
  return __float2half_rn(
      static_cast<float>(std::fma(static_cast<double>(__half2float(a)), __half2float(b), __half2float(c))));
}
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  return __double2bfloat16(
      std::fma(static_cast<double>(__bfloat162float(a)), __bfloat162float(b), __bfloat162float(c)));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return __half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  return __nv_bfloat162(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}

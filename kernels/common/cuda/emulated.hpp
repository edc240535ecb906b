// The instructions of kernels/common/cuda on the emulated device (SPF_EMULATED). Asynchronous ones happen late: a copy
// nobody waits for leaves its target as it was.
#pragma once

#include <cmath>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "emulator/machine.hpp"
#include "emulator/tensor_map.hpp"
#include "spearfish/types.h"

namespace spf::emulated {

// cp.async: `bytes` to shared memory, of which the first `read` come from global memory and the rest are zero.
inline void copy_async(uint32_t to, const void* from, int bytes, int read) {
  if (read > 0 && reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes) != 0)
    fault("cp.async from an address that is not a multiple of " + std::to_string(bytes));
  std::byte* const place = shared_memory(to, static_cast<size_t>(bytes), static_cast<size_t>(bytes));
  const auto work = [=] {
    if (read > 0) std::memcpy(place, from, static_cast<size_t>(read));
    std::memset(place + read, 0, static_cast<size_t>(bytes - read));
  };
  if (asynchronous_is_late())
    current->copies.add(work);
  else
    work();
}
inline void commit_copies() { current->copies.commit(); }
inline void wait_for_copies(int pending) { current->copies.wait(pending); }

// cp.async.bulk
inline void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  if (bytes % 16 != 0 || to % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0)
    fault("cp.async.bulk of " + std::to_string(bytes) + " bytes: size and addresses are multiples of 16");
  const uint32_t place = absolute_address(to), counted = absolute_address(barrier);
  copy_engine(place, [=] {
    std::memcpy(shared_memory(place, bytes, 16), from, bytes);
    mbarrier_complete(counted, bytes);
  });
}
inline void store_bulk(void* to, uint32_t from, uint32_t bytes) {
  if (bytes % 16 != 0 || from % 16 != 0 || reinterpret_cast<uintptr_t>(to) % 16 != 0)
    fault("cp.async.bulk of " + std::to_string(bytes) + " bytes: size and addresses are multiples of 16");
  current->bulk_stores.add([=] { std::memcpy(to, shared_memory(from, bytes, 16), bytes); });
}
inline void commit_bulk_stores() { current->bulk_stores.commit(); }
inline void wait_for_bulk_stores(int pending) { current->bulk_stores.wait(pending); }

// Asynchronous store into another block, counted on a barrier there.
inline void store_async(uint32_t to, uint32_t barrier, const void* value, uint32_t bytes) {
  unsigned char copy[16];
  std::memcpy(copy, value, bytes);
  const auto held = std::to_array(copy);
  copy_engine(to, [=] {
    std::memcpy(shared_memory(to, bytes, bytes), held.data(), bytes);
    mbarrier_complete(barrier, bytes);
  });
}

template <class T>
T load_shared(uint32_t address) {
  T value;
  std::memcpy(&value, shared_memory(address, sizeof value, sizeof value), sizeof value);
  return value;
}
template <class T>
void store_shared(uint32_t address, const T& value) {
  std::memcpy(shared_memory(address, sizeof value, sizeof value), &value, sizeof value);
}

// Loads and stores of several bytes at once fault where hardware does.
inline void check_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0)
    fault("an access of " + std::to_string(bytes) + " bytes at an address that is not a multiple of it");
}

// Halves of a word as numbers, and back, rounded once.
template <spf_scalar_type T>
float2 widen_pair(uint32_t word) {
  if constexpr (T == SPF_F16) {
    __half2 pair;
    std::memcpy(&pair, &word, 4);
    return __half22float2(pair);
  } else {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
  }
}
template <spf_scalar_type T>
uint32_t narrow_pair(double low, double high) {
  uint16_t halves[2];
  if constexpr (T == SPF_F16) {
    const __half pair[2] = {__double2half(low), __double2half(high)};
    std::memcpy(halves, pair, 4);
  } else {
    const __nv_bfloat16 pair[2] = {__double2bfloat16(low), __double2bfloat16(high)};
    std::memcpy(halves, pair, 4);
  }
  return halves[0] | static_cast<uint32_t>(halves[1]) << 16;
}

// f(a, b, c) of each half, for f that is exact in f64 but for one rounding.
template <spf_scalar_type T, class F>
uint32_t by_pair(F&& f, uint32_t a, uint32_t b, uint32_t c = 0) {
  const float2 x = widen_pair<T>(a), y = widen_pair<T>(b), z = widen_pair<T>(c);
  return narrow_pair<T>(f(static_cast<double>(x.x), static_cast<double>(y.x), static_cast<double>(z.x)),
                        f(static_cast<double>(x.y), static_cast<double>(y.y), static_cast<double>(z.y)));
}

// cvt.rn.satfinite.e2m1x2.f32, one value: the nearest code, of two the even one; NaN is the largest number.
inline uint32_t convert_e2m1(float v) {
  constexpr float kNumbers[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  if (v != v) return 7;
  const double size = std::fmin(std::fabs(double{v}), 6);
  uint32_t best = 0;
  for (uint32_t code = 1; code < 8; ++code) {
    const double distance = std::fabs(size - kNumbers[code]), least = std::fabs(size - kNumbers[best]);
    if (distance < least || (distance == least && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(v) ? 8u : 0u);
}

inline float flush_subnormal(float v) { return std::fabs(v) < 0x1p-126f ? std::copysign(0.0f, v) : v; }

} // namespace spf::emulated

#include "check/probe/cpu.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>

#include <immintrin.h>
#include <omp.h>

#include "spearfish/device.h"

namespace spf::check {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Results end here, so that no compiler drops the work.
void keep(float value) { __asm__ volatile("" : : "x"(value) : "memory"); }

constexpr size_t kLine = 64;

// Sums whole lines: four streams of plain vector loads, which every x86-64 compiler turns into full-width reads of what
// the target allows. Loads are the limit, not the additions.
__attribute__((target("avx2"))) float read_avx2(const std::byte* data, size_t lines) {
  __m256 a = _mm256_setzero_ps(), b = a;
  for (size_t i = 0; i < lines; ++i) {
    a = _mm256_xor_ps(a, _mm256_load_ps(reinterpret_cast<const float*>(data + i * kLine)));
    b = _mm256_xor_ps(b, _mm256_load_ps(reinterpret_cast<const float*>(data + i * kLine + 32)));
  }
  return _mm256_cvtss_f32(_mm256_xor_ps(a, b));
}

float read_sse(const std::byte* data, size_t lines) {
  __m128 a = _mm_setzero_ps(), b = a;
  for (size_t i = 0; i < lines; ++i)
    for (size_t part = 0; part < kLine; part += 32) {
      a = _mm_xor_ps(a, _mm_load_ps(reinterpret_cast<const float*>(data + i * kLine + part)));
      b = _mm_xor_ps(b, _mm_load_ps(reinterpret_cast<const float*>(data + i * kLine + part + 16)));
    }
  return _mm_cvtss_f32(_mm_xor_ps(a, b));
}

// --- arithmetic peaks: each body runs `rounds` rounds and returns the operations done -------------------------------

// Chains enough to hide the latency of any of these units on two ports, few enough for the registers of each set.
constexpr int kChains = 12;

double fma_sse(int64_t rounds) {
  __m128 acc[kChains], x = _mm_set1_ps(1.0f), y = _mm_set1_ps(1e-9f);
  for (__m128& a : acc) a = _mm_setzero_ps();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (__m128& a : acc) {
      a = _mm_add_ps(a, _mm_mul_ps(x, y));
      __asm__("" : "+x"(a), "+x"(x)); // the product must be computed every time
    }
  }
  for (__m128& a : acc) keep(_mm_cvtss_f32(a));
  return static_cast<double>(rounds) * kChains * 4 * 2;
}

__attribute__((target("avx2,fma"))) double fma_avx2(int64_t rounds) {
  __m256 acc[kChains], x = _mm256_set1_ps(1.0f), y = _mm256_set1_ps(1e-9f);
  for (__m256& a : acc) a = _mm256_setzero_ps();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (__m256& a : acc) {
      a = _mm256_fmadd_ps(x, y, a);
      __asm__("" : "+x"(a));
    }
  }
  for (__m256& a : acc) keep(_mm256_cvtss_f32(a));
  return static_cast<double>(rounds) * kChains * 8 * 2;
}

__attribute__((target("avx512f"))) double fma_avx512(int64_t rounds) {
  __m512 acc[kChains], x = _mm512_set1_ps(1.0f), y = _mm512_set1_ps(1e-9f);
  for (__m512& a : acc) a = _mm512_setzero_ps();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (__m512& a : acc) {
      a = _mm512_fmadd_ps(x, y, a);
      __asm__("" : "+v"(a));
    }
  }
  for (__m512& a : acc) keep(_mm512_cvtss_f32(a));
  return static_cast<double>(rounds) * kChains * 16 * 2;
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) double dot_bf16(int64_t rounds) {
  __m512 acc[kChains];
  const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80)), y = x;
  for (__m512& a : acc) a = _mm512_setzero_ps();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (__m512& a : acc) {
      a = _mm512_dpbf16_ps(a, x, y);
      __asm__("" : "+v"(a));
    }
  }
  for (__m512& a : acc) keep(_mm512_cvtss_f32(a));
  return static_cast<double>(rounds) * kChains * 32 * 2;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) double dot_vnni_s8(int64_t rounds) {
  __m512i acc[kChains];
  const __m512i x = _mm512_set1_epi8(1), y = x;
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (__m512i& a : acc) {
      a = _mm512_dpbusd_epi32(a, x, y);
      __asm__("" : "+v"(a));
    }
  }
  for (__m512i& a : acc) keep(static_cast<float>(_mm512_cvtsi512_si32(a)));
  return static_cast<double>(rounds) * kChains * 64 * 2;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) double dot_vnni_s16(int64_t rounds) {
  __m512i acc[kChains];
  const __m512i x = _mm512_set1_epi16(1), y = x;
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (__m512i& a : acc) {
      a = _mm512_dpwssd_epi32(a, x, y);
      __asm__("" : "+v"(a));
    }
  }
  for (__m512i& a : acc) keep(static_cast<float>(_mm512_cvtsi512_si32(a)));
  return static_cast<double>(rounds) * kChains * 32 * 2;
}

// The tile configuration of palette 1: 16 rows of 64 bytes for every tile.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t columns[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Four accumulating tiles against two and two, as a blocked product uses them.
__attribute__((target("amx-tile,amx-int8"))) double tiles_s8(int64_t rounds) {
  const TileConfig config;
  // The intrinsic tells gcc of eight bytes only; without this the stores to the rest may be dropped.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(rounds) * 4 * 16 * 16 * 64 * 2;
}

__attribute__((target("amx-tile,amx-bf16"))) double tiles_bf16(int64_t rounds) {
  const TileConfig config;
  // The intrinsic tells gcc of eight bytes only; without this the stores to the rest may be dropped.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(rounds) * 4 * 16 * 16 * 32 * 2;
}

using Body = double (*)(int64_t rounds);

// A measurement is the best of at least five passes, and of as many as fit into this time: on a busy machine most
// passes are disturbed.
constexpr double kSeconds = 0.06;

template <class Pass>
double best_of(const Pass& pass) {
  double best = 0;
  const auto begin = Clock::now();
  for (int i = 0; i < 5 || seconds_since(begin) < kSeconds; ++i) best = std::max(best, pass());
  return best;
}

// Runs of about 2 ms on every thread at once.
double peak(Body body, int threads) {
  int64_t rounds = 1000;
  for (double took = 0; took < 1e-3; rounds *= 2) {
    const auto start = Clock::now();
    body(rounds);
    took = seconds_since(start);
  }
  return best_of([&] {
    double done = 0;
    const auto start = Clock::now();
#pragma omp parallel num_threads(threads) reduction(+ : done)
    done += body(rounds);
    return done / seconds_since(start);
  });
}

} // namespace

double measure_read_bandwidth(size_t bytes, int threads) {
  threads = std::max(threads, 1);
  const size_t lines = std::max<size_t>(bytes / kLine / static_cast<size_t>(threads), 1);
  const size_t total = lines * kLine * static_cast<size_t>(threads);
  const auto deleter = [](std::byte* p) { ::operator delete (p, std::align_val_t{4096}); };
  std::unique_ptr<std::byte, decltype(deleter)> memory(
      static_cast<std::byte*>(::operator new (total, std::align_val_t{4096})), deleter);
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  const auto once = [&](int thread) {
    const std::byte* part = memory.get() + static_cast<size_t>(thread) * lines * kLine;
    keep(avx2 ? read_avx2(part, lines) : read_sse(part, lines));
  };
  // Each thread touches its own part first: its pages then lie in its own memory.
#pragma omp parallel num_threads(threads)
  std::memset(memory.get() + static_cast<size_t>(omp_get_thread_num()) * lines * kLine, 1, lines * kLine);
  const size_t repeats = std::max<size_t>((size_t{32} << 20) / total, 1);
  return best_of([&] {
    const auto start = Clock::now();
#pragma omp parallel num_threads(threads)
    for (size_t r = 0; r < repeats; ++r) once(omp_get_thread_num());
    return static_cast<double>(total) * static_cast<double>(repeats) / seconds_since(start);
  });
}

std::vector<ComputeLimit> measure_compute(uint32_t cpu_features, int threads) {
  const auto has = [&](uint32_t bit) { return (cpu_features & bit) != 0; };
  threads = std::max(threads, 1);
  std::vector<ComputeLimit> out;
  if (has(SPF_CPU_AVX512))
    out.push_back({"f32 avx512", peak(fma_avx512, threads)});
  else if (has(SPF_CPU_AVX2))
    out.push_back({"f32 avx2", peak(fma_avx2, threads)});
  else
    out.push_back({"f32 sse2", peak(fma_sse, threads)});
  if (has(SPF_CPU_AVX512_BF16)) out.push_back({"bf16 avx512", peak(dot_bf16, threads)});
  if (has(SPF_CPU_AVX512_VNNI)) out.push_back({"s16 vnni", peak(dot_vnni_s16, threads)});
  if (has(SPF_CPU_AVX512_VNNI)) out.push_back({"s8 vnni", peak(dot_vnni_s8, threads)});
  if (has(SPF_CPU_AMX_BF16)) out.push_back({"bf16 amx", peak(tiles_bf16, threads)});
  if (has(SPF_CPU_AMX_INT8)) out.push_back({"s8 amx", peak(tiles_s8, threads)});
  return out;
}

} // namespace spf::check

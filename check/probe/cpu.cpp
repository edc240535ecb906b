#include "check/probe/cpu.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <thread>

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

// Reads `lines` lines of memory, each vector into an exclusive or of its own. What a loop like a kernel's can reach
// depends on whether it asks for lines ahead of the hardware's own prefetching, so there are two of each.
template <bool kAhead>
__attribute__((target("avx512f"))) float read_avx512(const std::byte* data, size_t lines) {
  __m512i sum[4] = {};
  for (size_t i = 0; i < lines; ++i) {
    const std::byte* line = data + i * kLine;
    if constexpr (kAhead) _mm_prefetch(reinterpret_cast<const char*>(line + 32 * kLine), _MM_HINT_T0);
    sum[i & 3] = _mm512_xor_si512(sum[i & 3], _mm512_load_si512(line));
  }
  const __m512i all = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
  return static_cast<float>(_mm512_cvtsi512_si32(all));
}

template <bool kAhead>
__attribute__((target("avx2"))) float read_avx2(const std::byte* data, size_t lines) {
  __m256 sum[2] = {};
  for (size_t i = 0; i < lines; ++i) {
    const auto* line = reinterpret_cast<const float*>(data + i * kLine);
    if constexpr (kAhead) _mm_prefetch(reinterpret_cast<const char*>(data + (i + 32) * kLine), _MM_HINT_T0);
    sum[0] = _mm256_xor_ps(sum[0], _mm256_load_ps(line));
    sum[1] = _mm256_xor_ps(sum[1], _mm256_load_ps(line + 8));
  }
  return _mm256_cvtss_f32(_mm256_xor_ps(sum[0], sum[1]));
}

float read_sse(const std::byte* data, size_t lines) {
  __m128 sum[2] = {};
  for (size_t i = 0; i < lines * 4; ++i)
    sum[i & 1] = _mm_xor_ps(sum[i & 1], _mm_load_ps(reinterpret_cast<const float*>(data + i * 16)));
  return _mm_cvtss_f32(_mm_xor_ps(sum[0], sum[1]));
}

// --- arithmetic peaks ----------------------------------------------------------------------------------------------
// Assembly, because a compiler is free to keep accumulators in memory, and then a probe measures loads and stores. All
// operands are zero: no unit here takes longer for other numbers.

// Twelve chains hide the latency of any of these units on two ports, and fit the registers of each set. Registers 12
// and 13 are the factors, 14 and 15 are free for a step's own use.
#define SPF_CHAINS(STEP) \
  STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11)

#define SPF_CLEAR(r) "xorps %%xmm" #r ", %%xmm" #r "\n\t"

// A function that runs `rounds` rounds of a step on each chain.
#define SPF_VECTOR_PEAK(name, STEP, END)                                                                              \
  void name(int64_t rounds) {                                                                                         \
    __asm__ volatile(SPF_CHAINS(SPF_CLEAR) SPF_CLEAR(12) SPF_CLEAR(13) SPF_CLEAR(14)                                  \
                         SPF_CLEAR(15) "1:\n\t" SPF_CHAINS(STEP) "dec %0\n\tjnz 1b\n\t" END                           \
                     : "+r"(rounds)                                                                                   \
                     :                                                                                                \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                                  \
  }

#define SPF_STEP_SSE(r) "movaps %%xmm12, %%xmm14\n\tmulps %%xmm13, %%xmm14\n\taddps %%xmm14, %%xmm" #r "\n\t"
#define SPF_STEP_FMA_YMM(r) "vfmadd231ps %%ymm12, %%ymm13, %%ymm" #r "\n\t"
#define SPF_STEP_FMA_ZMM(r) "vfmadd231ps %%zmm12, %%zmm13, %%zmm" #r "\n\t"
#define SPF_STEP_BF16(r) "vdpbf16ps %%zmm12, %%zmm13, %%zmm" #r "\n\t"
#define SPF_STEP_VNNI_S16(r) "vpdpwssd %%zmm12, %%zmm13, %%zmm" #r "\n\t"
#define SPF_STEP_VNNI_S8(r) "vpdpbusd %%zmm12, %%zmm13, %%zmm" #r "\n\t"
#define SPF_STEP_MADD_S16(r) "vpmaddwd %%ymm12, %%ymm13, %%ymm14\n\tvpaddd %%ymm14, %%ymm" #r ", %%ymm" #r "\n\t"
#define SPF_STEP_MADD_S8(r) "vpmaddubsw %%ymm12, %%ymm13, %%ymm14\n\tvpaddw %%ymm14, %%ymm" #r ", %%ymm" #r "\n\t"

SPF_VECTOR_PEAK(fma_sse, SPF_STEP_SSE, "")
SPF_VECTOR_PEAK(fma_avx2, SPF_STEP_FMA_YMM, "vzeroupper")
SPF_VECTOR_PEAK(fma_avx512, SPF_STEP_FMA_ZMM, "vzeroupper")
SPF_VECTOR_PEAK(dot_bf16, SPF_STEP_BF16, "vzeroupper")
SPF_VECTOR_PEAK(dot_vnni_s16, SPF_STEP_VNNI_S16, "vzeroupper")
SPF_VECTOR_PEAK(dot_vnni_s8, SPF_STEP_VNNI_S8, "vzeroupper")
SPF_VECTOR_PEAK(madd_s16, SPF_STEP_MADD_S16, "vzeroupper")
SPF_VECTOR_PEAK(madd_s8, SPF_STEP_MADD_S8, "vzeroupper")

// The tile configuration of palette 1: 16 rows of 64 bytes for every tile.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t columns[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Four accumulating tiles against two and two, as a blocked product uses them.
#define SPF_TILE_PEAK(name, instruction)                                                                         \
  void name(int64_t rounds) {                                                                                    \
    const TileConfig config;                                                                                     \
    __asm__ volatile(                                                                                            \
        "ldtilecfg %1\n\ttilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"           \
        "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"                           \
        "1:\n\t" instruction " %%tmm6, %%tmm4, %%tmm0\n\t" instruction " %%tmm7, %%tmm4, %%tmm1\n\t" instruction \
        " %%tmm6, %%tmm5, %%tmm2\n\t" instruction " %%tmm7, %%tmm5, %%tmm3\n\tdec %0\n\tjnz 1b\n\ttilerelease"   \
        : "+r"(rounds)                                                                                           \
        : "m"(config)                                                                                            \
        : "cc");                                                                                                 \
  }

SPF_TILE_PEAK(tiles_bf16, "tdpbf16ps")
SPF_TILE_PEAK(tiles_s8, "tdpbssd")

// Everything there is to measure: what a CPU must have, what makes a row superfluous (a wider unit for the same), and
// the operations of a round.
struct Unit {
  const char* name;
  uint32_t needs, superseded_by;
  void (*run)(int64_t rounds);
  double operations;
};

constexpr double kVector = 2 * 12, kTile = 2 * 4 * 16 * 16; // operations a round, by multiply-adds per lane
constexpr Unit kUnits[] = {
    {"f32 sse2", 0, SPF_CPU_AVX2, fma_sse, kVector * 4},
    {"f32 avx2", SPF_CPU_AVX2, SPF_CPU_AVX512, fma_avx2, kVector * 8},
    {"f32 avx512", SPF_CPU_AVX512, 0, fma_avx512, kVector * 16},
    {"bf16 avx512", SPF_CPU_AVX512_BF16, 0, dot_bf16, kVector * 32},
    {"s16 avx2", SPF_CPU_AVX2, SPF_CPU_AVX512_VNNI, madd_s16, kVector * 16},
    {"s8 avx2", SPF_CPU_AVX2, SPF_CPU_AVX512_VNNI, madd_s8, kVector * 32},
    {"s16 vnni", SPF_CPU_AVX512_VNNI, 0, dot_vnni_s16, kVector * 32},
    {"s8 vnni", SPF_CPU_AVX512_VNNI, 0, dot_vnni_s8, kVector * 64},
    {"bf16 amx", SPF_CPU_AMX_BF16, 0, tiles_bf16, kTile * 32},
    {"s8 amx", SPF_CPU_AMX_INT8, 0, tiles_s8, kTile * 64},
};

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

// Passes of about a millisecond on every thread at once: short, so that some of them meet no other work.
double peak(const Unit& unit, int threads) {
  int64_t rounds = 1000;
  for (double took = 0; took < 0.5e-3; rounds *= 2) {
    const auto start = Clock::now();
    unit.run(rounds);
    took = seconds_since(start);
  }
  return best_of([&] {
    double longest = 0;
    std::atomic<int> awake = 0;
#pragma omp parallel num_threads(threads) reduction(max : longest)
    {
      // Waking threads takes long; they start together once all are awake.
      for (awake.fetch_add(1); awake.load() < omp_get_num_threads();) std::this_thread::yield();
      const auto start = Clock::now();
      unit.run(rounds);
      longest = seconds_since(start);
    }
    return unit.operations * static_cast<double>(rounds) * awake.load() / longest;
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
  std::vector<float (*)(const std::byte*, size_t)> ways = {read_sse};
  if (__builtin_cpu_supports("avx2")) ways = {read_avx2<false>, read_avx2<true>};
  if (__builtin_cpu_supports("avx512f")) ways = {read_avx512<false>, read_avx512<true>};
    // Each thread touches its own part first: its pages then lie in its own memory.
#pragma omp parallel num_threads(threads)
  std::memset(memory.get() + static_cast<size_t>(omp_get_thread_num()) * lines * kLine, 1, lines * kLine);
  const size_t repeats = std::max<size_t>((size_t{32} << 20) / total, 1);
  double best = 0;
  for (const auto& way : ways)
    best = std::max(best, best_of([&] {
                      const auto start = Clock::now();
#pragma omp parallel num_threads(threads)
                      for (size_t r = 0; r < repeats; ++r)
                        keep(way(memory.get() + static_cast<size_t>(omp_get_thread_num()) * lines * kLine, lines));
                      return static_cast<double>(total) * static_cast<double>(repeats) / seconds_since(start);
                    }));
  return best;
}

size_t working_set(size_t bytes) {
  bytes = std::clamp(bytes, size_t{4} << 10, size_t{256} << 20);
  const size_t step = std::bit_floor(bytes) / 16;
  return bytes / step * step;
}

std::vector<ComputeLimit> measure_compute(uint32_t cpu_features, int threads) {
  std::vector<ComputeLimit> out;
  for (const Unit& unit : kUnits)
    if ((cpu_features & unit.needs) == unit.needs && (cpu_features & unit.superseded_by) == 0)
      out.push_back({unit.name, peak(unit, std::max(threads, 1))});
  return out;
}

const ComputeLimit& best_for(const std::vector<ComputeLimit>& limits, std::string_view activation) {
  const ComputeLimit* best = &limits.front();
  for (const ComputeLimit& limit : limits)
    if ((activation.starts_with("s8") || !limit.name.starts_with("s8")) && limit.per_second > best->per_second)
      best = &limit;
  return *best;
}

} // namespace spf::check

// AMX tiles behind one small type, so that a kernel is written once and runs on the instructions or on an emulation of
// them: everything but the instruction is tested on any machine.
//
// Eight tiles of up to 16 rows of 64 bytes. A kernel configures them once per thread, uses them, and releases them.
// Semantics: Intel SDM volume 2, LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBSUD, TDPBF16PS.
#pragma once

#include <cstdint>
#include <cstring>

namespace spf::simd {
namespace {

// The memory operand of LDTILECFG, palette 1.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

[[maybe_unused]] inline TileConfig full_tiles() {
  TileConfig c;
  for (int t = 0; t < 8; ++t) {
    c.row_bytes[t] = 64;
    c.rows[t] = 16;
  }
  return c;
}

// The instructions. Written as assembly, because the intrinsics of gcc 12 take no template argument as a tile number
// and do not say that they touch memory. Needs the kernel's permission for the tile state (the runtime's probe asks for
// it).
struct AmxTiles {
  static void configure(const TileConfig& config) {
    // The whole struct must be in memory before it is loaded; a pointer operand alone does not say so.
    __asm__ volatile("ldtilecfg (%0)" : : "r"(&config), "m"(config) : "memory");
  }
  static void release() { __asm__ volatile("tilerelease" : : : "memory"); }

  template <int kTile>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* data, int64_t row_stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(data), "r"(row_stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* data, int64_t row_stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(data), "r"(row_stride), "i"(kTile) : "memory");
  }
  // c[i][j] += sum over k and b of a.s8[i][4k+b] * b.u8[k][4j+b], 32-bit integers.
  template <int kC, int kA, int kB>
  static void dot_s8u8() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
  // c[i][j] += sum over k and b of a.bf16[i][2k+b] * b.bf16[k][2j+b], f32.
  template <int kC, int kA, int kB>
  static void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
};

// The same, in ordinary arithmetic. One set of tiles per thread.
struct AmxEmulated {
  struct State {
    TileConfig config;
    uint8_t tile[8][16][64];
    bool configured = false;
  };
  static State& state() {
    static thread_local State s;
    return s;
  }

  static void configure(const TileConfig& config) {
    State& s = state();
    s.config = config;
    std::memset(s.tile, 0, sizeof s.tile);
    s.configured = config.palette == 1;
  }
  static void release() { state().configured = false; }

  template <int kTile>
  static void zero() {
    check(kTile);
    std::memset(state().tile[kTile], 0, sizeof state().tile[kTile]);
  }
  template <int kTile>
  static void load(const void* data, int64_t row_stride) {
    check(kTile);
    State& s = state();
    std::memset(s.tile[kTile], 0, sizeof s.tile[kTile]);
    for (int r = 0; r < s.config.rows[kTile]; ++r)
      std::memcpy(s.tile[kTile][r], static_cast<const char*>(data) + r * row_stride, s.config.row_bytes[kTile]);
  }
  template <int kTile>
  static void store(void* data, int64_t row_stride) {
    check(kTile);
    const State& s = state();
    for (int r = 0; r < s.config.rows[kTile]; ++r)
      std::memcpy(static_cast<char*>(data) + r * row_stride, s.tile[kTile][r], s.config.row_bytes[kTile]);
  }

  template <int kC, int kA, int kB>
  static void dot_s8u8() {
    for_each_sum<kC, kA, kB, int32_t>([](const uint8_t* a, const uint8_t* b, int32_t& sum) {
      for (int i = 0; i < 4; ++i) sum += static_cast<int8_t>(a[i]) * static_cast<int32_t>(b[i]);
    });
  }
  template <int kC, int kA, int kB>
  static void dot_bf16() {
    for_each_sum<kC, kA, kB, float>([](const uint8_t* a, const uint8_t* b, float& sum) {
      for (int i = 0; i < 2; ++i) sum += bf16(a + 2 * i) * bf16(b + 2 * i);
    });
  }

 private:
  // The processor faults on a tile that is not configured; so does the emulation.
  static void check(int tile) {
    if (!state().configured || state().config.rows[tile] == 0) __builtin_trap();
  }

  // Subnormal operands count as zero.
  static float bf16(const uint8_t* at) {
    uint16_t code;
    std::memcpy(&code, at, sizeof code);
    const uint32_t bits = (code & 0x7f80u) == 0 ? (code & 0x8000u) << 16 : static_cast<uint32_t>(code) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  template <int kC, int kA, int kB, class Sum, class Step>
  static void for_each_sum(Step step) {
    check(kC);
    check(kA);
    check(kB);
    State& s = state();
    const int words = s.config.row_bytes[kA] / 4; // 32-bit words of a row of A, rows of B
    for (int i = 0; i < s.config.rows[kC]; ++i)
      for (int j = 0; j < s.config.row_bytes[kC] / 4; ++j) {
        Sum sum;
        std::memcpy(&sum, s.tile[kC][i] + 4 * j, sizeof sum);
        for (int k = 0; k < words; ++k) step(s.tile[kA][i] + 4 * k, s.tile[kB][k] + 4 * j, sum);
        std::memcpy(s.tile[kC][i] + 4 * j, &sum, sizeof sum);
      }
  }
};

// Sums of kCount tiles, which are tiles 0 to kCount - 1: 1, 2 or 4 of them.
template <class Atom, int kCount>
void zero_tiles() {
  Atom::template zero<0>();
  if constexpr (kCount > 1) Atom::template zero<1>();
  if constexpr (kCount > 2) {
    Atom::template zero<2>();
    Atom::template zero<3>();
  }
}

} // namespace
} // namespace spf::simd

// wgmma on the emulated device (SPF_EMULATED). Every warp of the four multiplies its own 16 rows. The work is done when
// the warp waits for it: until then accumulators and shared memory are read by nobody, which is as late as hardware may
// be.
#pragma once

#include <memory>

#include "kernels/common/mma/emulated.hpp"

namespace spf::emulated {

// --- operands in shared memory
// ----------------------------------------------------------------------------------------- Descriptor, PTX ISA "Matrix
// descriptor format": bits 0-13 address / 16, 16-29 leading offset / 16, 32-45 stride offset / 16, 62-63 swizzle (1:
// 128 bytes, 2: 64, 3: 32, 0: none).

struct SharedOperand {
  uint32_t start, leading, stride;
  int swizzle_bytes; // 16 for none

  explicit SharedOperand(uint64_t descriptor)
      : start(static_cast<uint32_t>(descriptor & 0x3fff) << 4),
        leading(static_cast<uint32_t>(descriptor >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4),
        swizzle_bytes(descriptor >> 62 == 0 ? 16 : 256 >> (descriptor >> 62)) {}

  uint32_t place(uint32_t at) const {
    const uint32_t address = start + at, chunks = static_cast<uint32_t>(swizzle_bytes - 16);
    return address ^ ((address >> 3) & chunks & 0x70);
  }
  // Sixteen bytes of K, at byte k (a multiple of 16) of row n: rows of swizzle_bytes, eight of them `stride` apart.
  const std::byte* k_major(int n, int k) const {
    const auto row = static_cast<uint32_t>(n), byte = static_cast<uint32_t>(k),
               width = static_cast<uint32_t>(swizzle_bytes);
    const uint32_t at = swizzle_bytes == 16 ? row / 8 * stride + row % 8 * 16 + byte / 16 * leading
                                            : row / 8 * stride + row % 8 * width + byte;
    return shared_memory(place(at), 16, 16);
  }
  // Eight 16-bit elements of column k, from row n (a multiple of 8): columns of swizzle_bytes, eight of them `stride`
  // apart, the next rows `leading` further.
  const std::byte* n_major(int n, int k) const {
    const auto byte = static_cast<uint32_t>(2 * n), column = static_cast<uint32_t>(k),
               width = static_cast<uint32_t>(swizzle_bytes);
    return shared_memory(place(byte / width * leading + byte % width + column / 8 * stride + column % 8 * width), 16,
                         16);
  }
};

// --- multiplication --------------------------------------------------------------------------------------------------

template <class D>
struct WgmmaOperands {
  D* d;
  const uint32_t* a; // four words, or nullptr: from shared memory
  uint64_t a_descriptor, b_descriptor;
  bool accumulate;
};

template <Packed kType, int kN, class D, bool kANMajor, bool kBNMajor>
struct WgmmaWork {
  static constexpr int kE = kElements<kType>, kK = 8 * kE, kElementBytes = 4 / kE;
  D* d[32];
  float a[16][kK];
  bool a_from_shared;
  int warp; // of the warpgroup
  uint64_t a_descriptor, b_descriptor;
  bool accumulate;

  static void sixteen_bytes(const std::byte* from, float* to, int step) {
    for (int w = 0; w < 4; ++w) {
      uint32_t word;
      std::memcpy(&word, from + 4 * w, 4);
      for (int e = 0; e < kE; ++e) to[(w * kE + e) * step] = static_cast<float>(element<kType>(word, e));
    }
  }

  void run() {
    static thread_local float b[kK][kN];
    const SharedOperand shared_b(b_descriptor);
    constexpr int kPer16 = 16 / kElementBytes;
    if constexpr (kBNMajor) {
      for (int k = 0; k < kK; ++k)
        for (int n = 0; n < kN; n += 8) sixteen_bytes(shared_b.n_major(n, k), &b[k][n], 1);
    } else {
      for (int n = 0; n < kN; ++n)
        for (int k = 0; k < kK; k += kPer16) sixteen_bytes(shared_b.k_major(n, k * kElementBytes), &b[k][n], kN);
    }
    if (a_from_shared) {
      const SharedOperand shared_a(a_descriptor);
      if constexpr (kANMajor) {
        for (int k = 0; k < kK; ++k)
          for (int m = 0; m < 16; m += 8) sixteen_bytes(shared_a.n_major(16 * warp + m, k), &a[m][k], kK);
      } else {
        for (int m = 0; m < 16; ++m)
          for (int k = 0; k < kK; k += kPer16)
            sixteen_bytes(shared_a.k_major(16 * warp + m, k * kElementBytes), &a[m][k], 1);
      }
    }
    for (int row = 0; row < 16; ++row) {
      float sums[kN] = {};
      for (int k = 0; k < kK; ++k)
        for (int n = 0; n < kN; ++n) sums[n] += a[row][k] * b[k][n];
      for (int n = 0; n < kN; ++n) {
        D& to = d[row % 8 * 4 + n % 8 / 2][n / 8 * 4 + row / 8 * 2 + n % 2];
        to = static_cast<D>(accumulate ? to + static_cast<D>(sums[n]) : static_cast<D>(sums[n]));
      }
    }
  }
};

template <Packed kType, int kN, class D, bool kANMajor, bool kBNMajor>
void wgmma_of_warp(WgmmaOperands<D>* const (&lanes)[32], uint32_t mask) {
  if (mask != 0xffffffffu) fault("wgmma without all lanes of the warp");
  using Work = WgmmaWork<kType, kN, D, kANMajor, kBNMajor>;
  auto work = std::make_shared<Work>();
  constexpr int kE = kElements<kType>;
  work->a_from_shared = lanes[0]->a == nullptr;
  work->warp = current->number / 32 % 4;
  work->a_descriptor = lanes[0]->a_descriptor;
  work->b_descriptor = lanes[0]->b_descriptor;
  work->accumulate = lanes[0]->accumulate;
  multiplies_as_warpgroup("wgmma", work->a_descriptor, work->b_descriptor);
  for (int lane = 0; lane < 32; ++lane) {
    const WgmmaOperands<D>& o = *lanes[lane];
    if (o.b_descriptor != work->b_descriptor || o.a_descriptor != work->a_descriptor)
      fault("wgmma: lanes of a warp give different descriptors");
    work->d[lane] = o.d;
    if (o.a == nullptr) continue;
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; ++r)
      for (int e = 0; e < kE; ++e)
        work->a[g + 8 * (r % 2)][4 * kE * (r / 2) + t * kE + e] = static_cast<float>(element<kType>(o.a[r], e));
  }
  if (asynchronous_is_late())
    warp_groups().add([work] { work->run(); });
  else
    work->run();
}

// m64nNk(8 E): d (+)= a * b. D: float or int32_t, N / 2 of them.
template <Packed kType, int kN, bool kBNMajor = false, class D>
void wgmma(D* d, const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  WgmmaOperands<D> operands{d, a, 0, b, accumulate};
  collective<WgmmaOperands<D>, &wgmma_of_warp<kType, kN, D, false, kBNMajor>>("wgmma.mma_async", 0xffffffffu,
                                                                              &operands);
}
template <Packed kType, int kN, bool kANMajor = false, bool kBNMajor = false, class D>
void wgmma(D* d, uint64_t a, uint64_t b, bool accumulate) {
  WgmmaOperands<D> operands{d, nullptr, a, b, accumulate};
  collective<WgmmaOperands<D>, &wgmma_of_warp<kType, kN, D, kANMajor, kBNMajor>>("wgmma.mma_async", 0xffffffffu,
                                                                                 &operands);
}

// --- sparse A --------------------------------------------------------------------------------------------------------

// A holds two of every four values of K; the words of a warp's lanes say which (kernels/common/mma/wgmma_sparse.cuh).
template <Packed kType, int kN, class D>
struct SparseWgmmaWork {
  using Dense = WgmmaWork<kType, kN, D, false, false>;
  static constexpr int kE = Dense::kE, kStored = Dense::kK, kK = 2 * kStored, kElementBytes = 4 / kE;
  D* d[32];
  uint32_t words[32];
  int warp, selector;
  uint64_t a_descriptor, b_descriptor;

  // Four bits: the places of the two values of group q of a row of the warp.
  uint32_t places(int row, int q) const {
    const int lane = row % 8 * 4, high = row / 8;
    if (kE == 4) return words[lane + q / 8 * 2 + high] >> (q % 8 * 4) & 15;
    return words[lane + selector * 2 + q / 4] >> (high * 16 + q % 4 * 4) & 15;
  }

  void run() {
    static thread_local float a[16][kK], b[kK][kN];
    constexpr int kPer16 = 16 / kElementBytes;
    const SharedOperand shared_a(a_descriptor), shared_b(b_descriptor);
    for (int n = 0; n < kN; ++n)
      for (int k = 0; k < kK; k += kPer16) Dense::sixteen_bytes(shared_b.k_major(n, k * kElementBytes), &b[k][n], kN);
    for (int row = 0; row < 16; ++row) {
      float stored[kStored];
      for (int k = 0; k < kStored; k += kPer16)
        Dense::sixteen_bytes(shared_a.k_major(16 * warp + row, k * kElementBytes), &stored[k], 1);
      for (float& value : a[row]) value = 0.0f;
      for (int q = 0; q < kK / 4; ++q) {
        const uint32_t both = places(row, q), first = both & 3, second = both >> 2;
        if (first >= second) fault("sparse wgmma: the places of a group's two values do not ascend");
        a[row][4 * q + static_cast<int>(first)] = stored[2 * q];
        a[row][4 * q + static_cast<int>(second)] = stored[2 * q + 1];
      }
    }
    for (int row = 0; row < 16; ++row) {
      float sums[kN] = {};
      for (int q = 0; q < kK / 4; ++q)
        for (const uint32_t place : {places(row, q) & 3, places(row, q) >> 2}) { // the other two are not multiplied
          const int k = 4 * q + static_cast<int>(place);
          for (int n = 0; n < kN; ++n) sums[n] += a[row][k] * b[k][n];
        }
      for (int n = 0; n < kN; ++n)
        d[row % 8 * 4 + n % 8 / 2][n / 8 * 4 + row / 8 * 2 + n % 2] += static_cast<D>(sums[n]);
    }
  }
};

template <class D>
struct SparseWgmmaOperands {
  D* d;
  uint64_t a, b;
  uint32_t word;
  int selector;
};

template <Packed kType, int kN, class D>
void sparse_wgmma_of_warp(SparseWgmmaOperands<D>* const (&lanes)[32], uint32_t mask) {
  if (mask != 0xffffffffu) fault("wgmma without all lanes of the warp");
  using Work = SparseWgmmaWork<kType, kN, D>;
  auto work = std::make_shared<Work>();
  const SparseWgmmaOperands<D>& first = *lanes[0];
  work->warp = current->number / 32 % 4;
  work->selector = first.selector;
  work->a_descriptor = first.a;
  work->b_descriptor = first.b;
  multiplies_as_warpgroup("sparse wgmma", first.a, first.b);
  for (int lane = 0; lane < 32; ++lane) {
    const SparseWgmmaOperands<D>& o = *lanes[lane];
    if (o.a != first.a || o.b != first.b) fault("wgmma: lanes of a warp give different descriptors");
    work->d[lane] = o.d;
    work->words[lane] = o.word;
  }
  if (asynchronous_is_late())
    warp_groups().add([work] { work->run(); });
  else
    work->run();
}

// m64nNk(16 E): d += a * b. D: float or int32_t, N / 2 of them.
template <Packed kType, int kN, class D>
void sparse_wgmma(D* d, uint64_t a, uint64_t b, uint32_t word, int selector) {
  SparseWgmmaOperands<D> operands{d, a, b, word, selector};
  collective<SparseWgmmaOperands<D>, &sparse_wgmma_of_warp<kType, kN, D>>("wgmma.mma_async.sp", 0xffffffffu, &operands);
}

// --- groups
// --------------------------------------------------------------------------------------------------------------

inline void wgmma_commit_of_warp(int* const (&)[32], uint32_t) { warp_groups().commit(); }
inline void wgmma_wait_of_warp(int* const (&lanes)[32], uint32_t) { warp_groups().wait(*lanes[current->lane]); }

inline void wgmma_nothing_of_warp(int* const (&)[32], uint32_t) {}
inline void wgmma_fence() {
  int nothing = 0;
  collective<int, &wgmma_nothing_of_warp>("wgmma.fence", 0xffffffffu, &nothing);
}
inline void wgmma_commit() {
  int nothing = 0;
  collective<int, &wgmma_commit_of_warp>("wgmma.commit_group", 0xffffffffu, &nothing);
}
inline void wgmma_wait(int pending) { collective<int, &wgmma_wait_of_warp>("wgmma.wait_group", 0xffffffffu, &pending); }

} // namespace spf::emulated

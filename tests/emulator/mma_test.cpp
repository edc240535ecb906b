// Matrix instructions of the emulated device against plain loops. Fragments are filled by the formulas that the PTX ISA
// gives for each shape, element by element; the implementation has one formula for all of them.
#include <cmath>
#include <random>

#include "core/scalar.hpp"
#include "emulator/device.hpp"
#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/common/mma/emulated.hpp"
#include "kernels/common/mma/m16n8k16.cuh"

namespace spf::emulated_tests {
namespace {

using namespace spf::emulated;

struct Place {
  int row, column;
};

// PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type".
Place a_16(int lane, int i) {
  const int group = lane >> 2, in_group = lane % 4;
  const bool upper = (i >= 0 && i < 2) || (i >= 4 && i < 6);
  return {upper ? group : group + 8, in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
Place b_16(int lane, int i) { return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2}; }
// "for mma.m16n8k32" with 8-bit types.
Place a_8(int lane, int i) {
  const int group = lane >> 2, in_group = lane % 4;
  const bool upper = (i >= 0 && i < 4) || (i >= 8 && i < 12);
  return {upper ? group : group + 8, in_group * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
}
Place b_8(int lane, int i) { return {lane % 4 * 4 + (i & 3) + (i >= 4 ? 16 : 0), lane >> 2}; }
// "for mma.m16n8k64" with 4-bit types.
Place a_4(int lane, int i) {
  const int group = lane >> 2, in_group = lane % 4;
  const bool upper = (i >= 0 && i < 8) || (i >= 16 && i < 24);
  return {upper ? group : group + 8, in_group * 8 + (i & 7) + (i >= 16 ? 32 : 0)};
}
Place b_4(int lane, int i) { return {lane % 4 * 8 + (i & 7) + (i >= 8 ? 32 : 0), lane >> 2}; }
// "for mma.m16n8k8" with tf32.
Place a_32(int lane, int i) { return {(lane >> 2) + (i % 2 == 1 ? 8 : 0), lane % 4 + (i >= 2 ? 4 : 0)}; }
Place b_32(int lane, int i) { return {lane % 4 + (i == 1 ? 4 : 0), lane >> 2}; }
Place d_of(int lane, int i) { return {(lane >> 2) + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)}; }

// Codes of a 16 x k and a k x 8 matrix, and what they stand for.
struct Matrices {
  int k;
  std::vector<uint32_t> a, b;

  Matrices(int k_extent, int bits, uint32_t mask) : k(k_extent), a(16 * k), b(8 * k) {
    std::mt19937 random(static_cast<unsigned>(k * 64 + bits));
    for (uint32_t& code : a) code = random() & mask;
    for (uint32_t& code : b) code = random() & mask;
  }
};

struct Fragments {
  uint32_t a[32][4] = {}, b[32][2] = {};
};

template <class PlaceOfA, class PlaceOfB>
Fragments fragments(const Matrices& m, int bits, PlaceOfA&& of_a, PlaceOfB&& of_b) {
  Fragments f;
  const int per_word = 32 / bits;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4 * per_word; ++i) {
      const Place p = of_a(lane, i);
      f.a[lane][i / per_word] |= m.a[static_cast<size_t>(p.row * m.k + p.column)] << (bits * (i % per_word));
    }
    for (int i = 0; i < 2 * per_word; ++i) {
      const Place p = of_b(lane, i);
      f.b[lane][i / per_word] |= m.b[static_cast<size_t>(p.row * 8 + p.column)] << (bits * (i % per_word));
    }
  }
  return f;
}

template <class D, class F>
void expect_product(const Matrices& m, const std::vector<D>& d, F&& value) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const Place p = d_of(lane, i);
      double sum = 0.5 * lane;
      for (int k = 0; k < m.k; ++k) sum += value(m, p.row, k, p.column);
      if constexpr (std::is_same_v<D, int32_t>) sum = std::floor(sum);
      EXPECT_NEAR(static_cast<double>(d[static_cast<size_t>(lane * 4 + i)]), sum, 1e-5 * std::fabs(sum) + 1e-6)
          << "lane " << lane << " element " << i;
    }
}

template <Packed kType, class D>
__global__ void multiply(const Fragments* f, D* d) {
  D sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = static_cast<D>(0.5 * threadIdx.x);
  mma<kType, kType>(sums, f->a[threadIdx.x], f->b[threadIdx.x]);
  for (int i = 0; i < 4; ++i) d[threadIdx.x * 4 + i] = sums[i];
}

template <Packed kType, class D, class PlaceOfA, class PlaceOfB, class F>
void expect_mma(int k, int bits, uint32_t mask, PlaceOfA&& of_a, PlaceOfB&& of_b, F&& decode) {
  const Matrices m(k, bits, mask);
  const Fragments f = fragments(m, bits, of_a, of_b);
  DeviceArray<Fragments> device(std::vector<Fragments>{f});
  DeviceArray<D> d(128);
  ASSERT_EQ(run({}, multiply<kType, D>, device.data(), d.data()), "");
  expect_product(m, d.read(), [&](const Matrices& matrices, int row, int kk, int column) {
    return decode(matrices.a[static_cast<size_t>(row * k + kk)]) *
           decode(matrices.b[static_cast<size_t>(kk * 8 + column)]);
  });
}

double f16(uint32_t code) { return f16_to_f32(static_cast<uint16_t>(code)); }
double bf16(uint32_t code) { return bf16_to_f32(static_cast<uint16_t>(code)); }

TEST(Mma, SixteenBits) {
  expect_mma<Packed::kF16, float>(16, 16, 0xbfff, a_16, b_16, f16); // below 2
  expect_mma<Packed::kBf16, float>(16, 16, 0xbfff, a_16, b_16, bf16);
}

TEST(Mma, EightBits) {
  expect_mma<Packed::kS8, int32_t>(32, 8, 0xff, a_8, b_8, [](uint32_t c) { return double{static_cast<int8_t>(c)}; });
  expect_mma<Packed::kU8, int32_t>(32, 8, 0xff, a_8, b_8, [](uint32_t c) { return double(c); });
  expect_mma<Packed::kE4m3, float>(32, 8, 0xf7, a_8, b_8,
                                   [](uint32_t c) { return e4m3_to_f32(static_cast<uint8_t>(c)); });
  expect_mma<Packed::kE5m2, float>(32, 8, 0xbf, a_8, b_8,
                                   [](uint32_t c) { return e5m2_to_f32(static_cast<uint8_t>(c)); });
}

TEST(Mma, FourBits) {
  expect_mma<Packed::kS4, int32_t>(64, 4, 0xf, a_4, b_4, [](uint32_t c) { return c < 8 ? c : c - 16.0; });
  expect_mma<Packed::kE2m1, float>(64, 4, 0xf, a_4, b_4,
                                   [](uint32_t c) { return e2m1_to_f32(static_cast<uint8_t>(c)); });
}

TEST(Mma, Tf32) {
  expect_mma<Packed::kTf32, float>(8, 32, 0xbfffe000, a_32, b_32, [](uint32_t c) { return std::bit_cast<float>(c); });
}

// --- block scales ----------------------------------------------------------------------------------------------------

struct Scales {
  uint32_t a[16], b[8]; // a word of bytes for each row of A and column of B
};

template <Packed kType, ScaleType kScale, int kParts>
__global__ void multiply_scaled(const Fragments* f, const Scales* scales, float* d, int byte_id, int a_thread,
                                int b_thread) {
  const int lane = threadIdx.x, group = lane / 4, in_group = lane % 4;
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = 0.5f * lane;
  // Lanes that are not asked hold what nobody should read.
  const uint32_t a = in_group / 2 == a_thread ? scales->a[group + 8 * (in_group % 2)] : 0x77777777u;
  const uint32_t b = in_group == b_thread ? scales->b[group] : 0x77777777u;
  mma_block_scaled<kType, kType, kScale, kParts>(sums, f->a[lane], f->b[lane], {a, byte_id, a_thread},
                                                 {b, byte_id, b_thread});
  for (int i = 0; i < 4; ++i) d[lane * 4 + i] = sums[i];
}

template <Packed kType, ScaleType kScale, int kParts, class PlaceOfA, class PlaceOfB, class Decode, class DecodeScale>
void expect_scaled(int k, int bits, uint32_t mask, int byte_id, PlaceOfA&& of_a, PlaceOfB&& of_b, Decode&& decode,
                   DecodeScale&& decode_scale) {
  const Matrices m(k, bits, mask);
  Scales scales;
  std::mt19937 random(7);
  // Bytes near one, in either type.
  const auto word = [&] {
    uint32_t w = 0;
    for (int i = 0; i < 4; ++i)
      w |= (kScale == ScaleType::kUe8m0 ? 124 + random() % 6 : 0x30 + random() % 16) << (8 * i);
    return w;
  };
  for (uint32_t& w : scales.a) w = word();
  for (uint32_t& w : scales.b) w = word();
  DeviceArray<Fragments> f(std::vector<Fragments>{fragments(m, bits, of_a, of_b)});
  DeviceArray<Scales> s(std::vector<Scales>{scales});
  for (int a_thread = 0; a_thread < 2; ++a_thread)
    for (int b_thread = 0; b_thread < 4; ++b_thread) {
      DeviceArray<float> d(128);
      ASSERT_EQ(
          run({}, multiply_scaled<kType, kScale, kParts>, f.data(), s.data(), d.data(), byte_id, a_thread, b_thread),
          "");
      expect_product(m, d.read(), [&](const Matrices& matrices, int row, int kk, int column) {
        const int byte = byte_id + kk / (k / kParts);
        return decode(matrices.a[static_cast<size_t>(row * k + kk)]) *
               decode_scale(scales.a[row] >> (8 * byte) & 0xff) *
               decode(matrices.b[static_cast<size_t>(kk * 8 + column)]) *
               decode_scale(scales.b[column] >> (8 * byte) & 0xff);
      });
    }
}

double e2m1(uint32_t c) { return e2m1_to_f32(static_cast<uint8_t>(c)); }
double e8m0(uint32_t c) { return std::exp2(static_cast<double>(c) - 127); }
double e4m3(uint32_t c) { return e4m3_to_f32(static_cast<uint8_t>(c)); }

TEST(Mma, BlockScaled) {
  expect_scaled<Packed::kE2m1, ScaleType::kUe4m3, 4>(64, 4, 0xf, 0, a_4, b_4, e2m1, e4m3); // mxf4nvf4 4X
  expect_scaled<Packed::kE2m1, ScaleType::kUe8m0, 2>(64, 4, 0xf, 0, a_4, b_4, e2m1, e8m0); // mxf4 2X
  expect_scaled<Packed::kE2m1, ScaleType::kUe8m0, 2>(64, 4, 0xf, 2, a_4, b_4, e2m1, e8m0);
  for (int byte = 0; byte < 4; ++byte) // mxf8f6f4 1X
    expect_scaled<Packed::kE4m3, ScaleType::kUe8m0, 1>(32, 8, 0xf7, byte, a_8, b_8, e4m3, e8m0);
  expect_scaled<Packed::kE2m1InByte, ScaleType::kUe8m0, 1>(
      32, 8, 0x3c, 1, a_8, b_8, [](uint32_t c) { return e2m1(c >> 2); }, e8m0);
}

// --- 8x8 matrices ----------------------------------------------------------------------------------------------------

__global__ void move_matrices(uint16_t* out) {
  __shared__ __align__(16) uint16_t in[4][8][8], to[2][4][8][8];
  for (int i = threadIdx.x; i < 256; i += 32) (&in[0][0][0])[i] = static_cast<uint16_t>(i);
  __syncwarp();
  const int lane = threadIdx.x;
  uint32_t words[4], turned[4];
  cuda::load_matrices(words, cuda::shared_address(in[lane / 8][lane % 8]));
  cuda::load_matrices_transposed(turned, cuda::shared_address(in[lane / 8][lane % 8]));
  for (int m = 0; m < 4; ++m) turned[m] = cuda::transpose8x8(turned[m]); // and back
  store_matrices(cuda::shared_address(to[0][lane / 8][lane % 8]), words, false);
  store_matrices(cuda::shared_address(to[1][lane / 8][lane % 8]), turned, true);
  __syncwarp();
  for (int i = threadIdx.x; i < 512; i += 32) out[i] = (&to[0][0][0][0])[i];
  for (int m = 0; m < 4; ++m) {
    out[512 + 64 * m + 2 * lane] = static_cast<uint16_t>(words[m]);
    out[512 + 64 * m + 2 * lane + 1] = static_cast<uint16_t>(words[m] >> 16);
  }
}

TEST(Matrices, LoadStoreAndTranspose) {
  DeviceArray<uint16_t> out(768);
  ASSERT_EQ(run({}, move_matrices, out.data()), "");
  const std::vector<uint16_t> v = out.read();
  for (int m = 0; m < 4; ++m)
    for (int row = 0; row < 8; ++row)
      for (int column = 0; column < 8; ++column) {
        const int at = 64 * m + 8 * row + column;
        EXPECT_EQ(v[static_cast<size_t>(at)], at);
        EXPECT_EQ(v[static_cast<size_t>(256 + at)], 64 * m + 8 * column + row);
        // Lane L: row L / 4, columns 2 (L % 4) and the next.
        EXPECT_EQ(v[static_cast<size_t>(512 + at)], at);
      }
}

} // namespace
} // namespace spf::emulated_tests

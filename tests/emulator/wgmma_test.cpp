// The copy engine and warpgroup multiplication of the emulated device, together as kernels use them.
#include "kernels/common/mma/wgmma.cuh"

#include <random>

#include "core/scalar.hpp"
#include "emulator/device.hpp"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"

namespace spf::emulated_tests {
namespace {

using namespace spf::cuda;

CUresult encode(CUtensorMap* map, const void* data, CUtensorMapDataType type, int64_t columns, int64_t rows,
                int64_t row_bytes, int box_columns, int box_rows, CUtensorMapSwizzle swizzle) {
  const cuuint64_t extents[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
  return emulated::encode_tensor_map(map, type, 2, const_cast<void*>(data), extents, strides, box, steps,
                                     CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                     CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

struct TileArgs {
  CUtensorMap map;
  uint16_t* out;
  int column, row, bytes;
};

__global__ void copy_one_tile(const __grid_constant__ TileArgs a) {
  SPF_DYNAMIC_SHARED(uint8_t, raw, 128);
  __shared__ Barrier barrier;
  uint8_t* const memory = raw + (1024 - shared_address(raw) % 1024) % 1024;
  if (threadIdx.x == 0) {
    barrier.init(1);
    barrier.arrive_expect(static_cast<uint32_t>(a.bytes));
    copy_tile(shared_address(memory), a.map, a.column, a.row, shared_address(&barrier.word));
  }
  __syncthreads();
  barrier.wait(0);
  for (int i = threadIdx.x; i < a.bytes / 2; i += blockDim.x) a.out[i] = reinterpret_cast<const uint16_t*>(memory)[i];
}

// Element (row, column) of a tensor of 20 rows of 72, by its number; boxes of 64 x 16.
void expect_tile(CUtensorMapSwizzle swizzle, int box_columns, int column, int row) {
  std::vector<uint16_t> numbers(20 * 72);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint16_t>(i + 1);
  DeviceArray<uint16_t> tensor(numbers), out(static_cast<size_t>(box_columns) * 16);
  TileArgs a = {};
  ASSERT_EQ(encode(&a.map, tensor.data(), CU_TENSOR_MAP_DATA_TYPE_UINT16, 72, 20, 144, box_columns, 16, swizzle),
            CUDA_SUCCESS);
  a.out = out.data();
  a.column = column;
  a.row = row;
  a.bytes = box_columns * 32;
  ASSERT_EQ(run({.threads = 64, .dynamic_bytes = 4096}, copy_one_tile, a), "");
  const std::vector<uint16_t> got = out.read();
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < box_columns; ++c) {
      const int y = row + r, x = column + c;
      const int expected = y < 0 || y >= 20 || x < 0 || x >= 72 ? 0 : 72 * y + x + 1;
      // By hand: chunks of 16 bytes, their number within the line xor the line's.
      int chunk = c / 8;
      if (swizzle == CU_TENSOR_MAP_SWIZZLE_128B) chunk ^= r % 8;
      if (swizzle == CU_TENSOR_MAP_SWIZZLE_64B) chunk ^= r / 2 % 4;
      if (swizzle == CU_TENSOR_MAP_SWIZZLE_32B) chunk ^= r / 4 % 2;
      EXPECT_EQ(got[static_cast<size_t>(r * box_columns + chunk * 8 + c % 8)], expected) << r << " " << c;
    }
}

TEST(TensorCopies, TilesWithZerosOutside) {
  expect_tile(CU_TENSOR_MAP_SWIZZLE_NONE, 64, 0, 0);
  expect_tile(CU_TENSOR_MAP_SWIZZLE_NONE, 64, 40, 10);
  expect_tile(CU_TENSOR_MAP_SWIZZLE_NONE, 64, -8, -3);
  expect_tile(CU_TENSOR_MAP_SWIZZLE_128B, 64, -3, 0);
}

__global__ void store_one_tile(const __grid_constant__ TileArgs a) {
  SPF_DYNAMIC_SHARED(uint8_t, raw, 128);
  uint8_t* const memory = raw + (1024 - shared_address(raw) % 1024) % 1024;
  for (int i = threadIdx.x; i < a.bytes / 2; i += blockDim.x) reinterpret_cast<uint16_t*>(memory)[i] = 0x1111;
  fence_before_copies();
  __syncthreads();
  if (threadIdx.x > 0) return;
  store_tile(a.map, a.column, a.row, shared_address(memory));
  commit_stores();
  wait_for_store_reads();
}

// As seen on H200: rows that do not exist stay as they are, but of a row whole pieces of 16 bytes are written.
TEST(TensorCopies, StoresWriteWholePieces) {
  for (int columns = 1; columns <= 17; ++columns) {
    DeviceArray<uint16_t> tensor(std::vector<uint16_t>(4 * 64, 0xeeee));
    TileArgs a = {};
    ASSERT_EQ(encode(&a.map, tensor.data(), CU_TENSOR_MAP_DATA_TYPE_UINT16, columns, 3, 128, 64, 4,
                     CU_TENSOR_MAP_SWIZZLE_128B),
              CUDA_SUCCESS);
    a.bytes = 64 * 4 * 2;
    ASSERT_EQ(run({.threads = 64, .dynamic_bytes = 2048}, store_one_tile, a), "");
    const std::vector<uint16_t> got = tensor.read();
    for (int row = 0; row < 4; ++row)
      for (int c = 0; c < 64; ++c)
        EXPECT_EQ(got[static_cast<size_t>(row * 64 + c)], row < 3 && c < (columns + 7) / 8 * 8 ? 0x1111 : 0xeeee)
            << columns << ": " << row << " " << c;
  }
}

TEST(TensorCopies, Swizzles) {
  expect_tile(CU_TENSOR_MAP_SWIZZLE_128B, 64, 16, 7);
  expect_tile(CU_TENSOR_MAP_SWIZZLE_64B, 32, 8, 1);
  expect_tile(CU_TENSOR_MAP_SWIZZLE_32B, 16, 8, 1);
}

TEST(TensorCopies, MapsThatTheDriverRefuses) {
  DeviceArray<uint16_t> tensor(std::vector<uint16_t>(4096));
  CUtensorMap map;
  const auto type = CU_TENSOR_MAP_DATA_TYPE_UINT16;
  const auto none = CU_TENSOR_MAP_SWIZZLE_NONE;
  EXPECT_EQ(encode(&map, tensor.data() + 1, type, 64, 16, 128, 64, 16, none), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode(&map, tensor.data(), type, 64, 16, 120, 64, 16, none), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode(&map, tensor.data(), type, 64, 16, 128, 257, 16, none), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode(&map, tensor.data(), type, 0, 16, 128, 64, 16, none), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode(&map, tensor.data(), type, 128, 16, 256, 128, 16, CU_TENSOR_MAP_SWIZZLE_128B),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode(&map, tensor.data(), type, 64, 16, 128, 4, 16, none), CUDA_ERROR_INVALID_VALUE);
}

__global__ void multicast(const __grid_constant__ TileArgs a) {
  SPF_DYNAMIC_SHARED(uint8_t, memory, 128);
  __shared__ Barrier barrier;
  if (threadIdx.x == 0 && cluster_rank() != 1) {
    barrier.init(1);
    barrier.arrive_expect(static_cast<uint32_t>(a.bytes));
  }
  cluster_arrive();
  cluster_wait();
  // Block 1 fetches for blocks 0 and 2.
  if (cluster_rank() == 1 && threadIdx.x == 0)
    copy_tile_to_all(shared_address(memory), a.map, 0, 0, shared_address(&barrier.word), 0b101);
  if (cluster_rank() != 1) {
    barrier.wait(0);
    a.out[blockIdx.x * 32 + threadIdx.x] = reinterpret_cast<const uint16_t*>(memory)[threadIdx.x];
  }
  cluster_arrive();
  cluster_wait();
}

TEST(TensorCopies, Multicast) {
  std::vector<uint16_t> numbers(64 * 16);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint16_t>(i + 1);
  DeviceArray<uint16_t> tensor(numbers), out(std::vector<uint16_t>(96));
  TileArgs a = {};
  ASSERT_EQ(
      encode(&a.map, tensor.data(), CU_TENSOR_MAP_DATA_TYPE_UINT16, 64, 16, 128, 64, 16, CU_TENSOR_MAP_SWIZZLE_NONE),
      CUDA_SUCCESS);
  a.out = out.data();
  a.bytes = 2048;
  ASSERT_EQ(run({.blocks = 3, .threads = 32, .cluster = 3, .dynamic_bytes = 2048}, multicast, a), "");
  const std::vector<uint16_t> got = out.read();
  for (size_t i = 0; i < 96; ++i) EXPECT_EQ(got[i], i / 32 == 1 ? 0 : i % 32 + 1);
}

// --- wgmma -----------------------------------------------------------------------------------------------------------

constexpr int kN = 32, kK = 64;

struct ProductArgs {
  const uint16_t *a, *b; // A [64][K], B [N][K], or [K][N] if turned
  float* out;            // [64][N]
  int shared_a, turned_b, wait;
};

// Swizzled by hand, as the copy engine does.
__device__ void place(uint8_t* memory, const uint16_t* matrix, int rows) {
  for (int i = threadIdx.x; i < rows * 64; i += blockDim.x) {
    const int row = i / 64, column = i % 64;
    reinterpret_cast<uint16_t*>(memory)[row * 64 + (column / 8 ^ row % 8) * 8 + column % 8] = matrix[i];
  }
}

__global__ void product(const __grid_constant__ ProductArgs args) {
  SPF_DYNAMIC_SHARED(uint8_t, raw, 128);
  uint8_t* const memory = raw + (1024 - shared_address(raw) % 1024) % 1024;
  uint8_t* const a_memory = memory + 8192;
  if (args.turned_b) {
    // [K][N]: rows of 64 bytes hold kN = 32 columns; as 128-byte lines they need N = 64, of which half stays empty.
    for (int i = threadIdx.x; i < 64 * kN; i += blockDim.x) {
      const int k = i / kN, n = i % kN;
      reinterpret_cast<uint16_t*>(memory)[k * 64 + (n / 8 ^ k % 8) * 8 + n % 8] = args.b[i];
    }
  } else {
    place(memory, args.b, kN);
  }
  place(a_memory, args.a, 64);
  __syncthreads();
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  float d[kN / 2];
  for (float& v : d) v = 1.0f;
  wgmma_fence();
  for (int kk = 0; kk < kK; kk += 16) {
    uint32_t a[4];
    for (int r = 0; r < 4; ++r) {
      const uint16_t* const from = args.a + (16 * warp + g + 8 * (r % 2)) * kK + kk + 8 * (r / 2) + 2 * t;
      a[r] = from[0] | static_cast<uint32_t>(from[1]) << 16;
    }
    const uint32_t b = wgmma_operand(shared_address(memory)) + kk / 8,
                   a_shared = wgmma_operand(shared_address(a_memory)) + kk / 8;
    // Columns of K are 128 bytes; eight of them, 1024 bytes, are the stride.
    const uint64_t b_turned = wgmma_descriptor(wgmma_operand(shared_address(memory) + kk * 128));
    using emulated::Packed;
    if (args.turned_b)
      emulated::wgmma<Packed::kF16, kN, true>(d, a, b_turned, true);
    else if (args.shared_a)
      Wgmma<kN>::multiply<SPF_F16>(d, a_shared, b);
    else
      Wgmma<kN>::multiply<SPF_F16>(d, a, b);
  }
  wgmma_commit();
  if (args.wait == 1) wgmma_wait<0>();
  for (int i = 0; i < kN / 2; ++i) args.out[(16 * warp + g + 8 * (i / 2 % 2)) * kN + i / 4 * 8 + 2 * t + i % 2] = d[i];
}

struct Product {
  std::vector<uint16_t> a, b, b_turned;
  std::vector<float> expected;

  Product() : a(64 * kK), b(kN * kK), b_turned(kN * kK), expected(64 * kN) {
    std::mt19937 random(3);
    for (uint16_t& v : a) v = f32_to_f16(static_cast<float>(static_cast<int>(random() % 17) - 8));
    for (uint16_t& v : b) v = f32_to_f16(static_cast<float>(static_cast<int>(random() % 17) - 8));
    for (int n = 0; n < kN; ++n)
      for (int k = 0; k < kK; ++k) b_turned[static_cast<size_t>(k * kN + n)] = b[static_cast<size_t>(n * kK + k)];
    for (int m = 0; m < 64; ++m)
      for (int n = 0; n < kN; ++n) {
        float sum = 1;
        for (int k = 0; k < kK; ++k)
          sum += f16_to_f32(a[static_cast<size_t>(m * kK + k)]) * f16_to_f32(b[static_cast<size_t>(n * kK + k)]);
        expected[static_cast<size_t>(m * kN + n)] = sum;
      }
  }
};

TEST(Wgmma, RegistersAndSharedMemoryInEitherOrder) {
  const Product p;
  DeviceArray<uint16_t> a(p.a), b(p.b), turned(p.b_turned);
  for (int form = 0; form < 3; ++form) {
    DeviceArray<float> out(64 * kN);
    ASSERT_EQ(run({.threads = 128, .dynamic_bytes = 17 * 1024}, product,
                  ProductArgs{a.data(), form == 2 ? turned.data() : b.data(), out.data(), form == 1, form == 2, 1}),
              "");
    EXPECT_EQ(out.read(), p.expected) << "form " << form;
  }
}

TEST(Wgmma, IsReportedIfNobodyWaitsLate) {
  const Product p;
  DeviceArray<uint16_t> a(p.a), b(p.b);
  DeviceArray<float> out(64 * kN);
  EXPECT_TEXT(
      run({.threads = 128, .dynamic_bytes = 17 * 1024}, product, ProductArgs{a.data(), b.data(), out.data(), 0, 0, 0}),
      "without waiting for its multiplications");
  EXPECT_EQ(out.read()[5], 1.0f);
}

// --- registers and warpgroups --------------------------------------------------------------------------------------

// Of 384 threads, launched with 168 registers each: one warpgroup gives, two take.
template <int kGiven, int kTaken>
__global__ void move_registers(bool by_warpgroup) {
  if (threadIdx.x < 128) {
    if (by_warpgroup || threadIdx.x < 96) give_registers<kGiven>();
  } else {
    take_registers<kTaken>();
  }
}

TEST(Registers, MoveFromWarpgroupToWarpgroup) {
  EXPECT_EQ(run({.threads = 384}, move_registers<40, 232>, true), "");
  EXPECT_EQ(run({.threads = 512}, move_registers<56, 152>, true), ""); // of 128
  EXPECT_TEXT(run({.threads = 384}, move_registers<48, 232>, true), "threads in setmaxnreg.inc");
  EXPECT_TEXT(run({.threads = 512}, move_registers<40, 160>, true), "threads in setmaxnreg.inc");
  EXPECT_TEXT(run({.threads = 384}, move_registers<36, 232>, true), "multiples of 8 from 24 to 256");
  EXPECT_TEXT(run({.threads = 384}, move_registers<40, 152>, true), "setmaxnreg.inc 152 of a warp that has 168");
  EXPECT_TEXT(run({.threads = 512}, move_registers<136, 152>, true), "setmaxnreg.dec 136 of a warp that has 128");
  EXPECT_TEXT(run({.threads = 384}, move_registers<24, 184>, false), "not as many registers in warp 3");
}

// mistake 1: a warp takes its operand further on; 2: a warp does not multiply.
__global__ void multiply_nothing(int mistake) {
  SPF_DYNAMIC_SHARED(uint8_t, raw, 128);
  const int warp = threadIdx.x / 32;
  uint32_t a[4] = {};
  float d[8 / 2] = {};
  const uint32_t at = shared_address(raw) + (1024 - shared_address(raw) % 1024) % 1024;
  if (mistake == 2 && warp == 3) return;
  wgmma_fence();
  Wgmma<8>::multiply<SPF_BF16>(d, a, wgmma_operand(at + (mistake == 1 && warp == 2 ? 1024 : 0)));
  wgmma_commit();
  wgmma_wait<0>();
}

TEST(Wgmma, WarpsOfAWarpgroupMultiplyTheSame) {
  EXPECT_EQ(run({.threads = 128, .dynamic_bytes = 3072}, multiply_nothing, 0), "");
  EXPECT_TEXT(run({.threads = 128, .dynamic_bytes = 3072}, multiply_nothing, 1), "give different descriptors");
  EXPECT_TEXT(run({.threads = 128, .dynamic_bytes = 3072}, multiply_nothing, 2), "multiplications of warp 3");
}

} // namespace
} // namespace spf::emulated_tests

// Barriers, shuffles, shared memory, clusters, and what is reported of kernels that are wrong.
#include <numeric>

#include "emulator/device.hpp"
#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"

namespace spf::emulated_tests {
namespace {

using namespace spf::cuda;

// --- barriers --------------------------------------------------------------------------------------------------------

__global__ void reverse(uint32_t* out, bool barrier) {
  __shared__ uint32_t values[256];
  values[threadIdx.x] = threadIdx.x;
  if (barrier) __syncthreads();
  out[blockIdx.x * 256 + threadIdx.x] = values[255 - threadIdx.x];
}

TEST(Barriers, SharedMemoryIsSeenAfterABarrier) {
  DeviceArray<uint32_t> out(3 * 256);
  EXPECT_EQ(run({.blocks = 3, .threads = 256}, reverse, out.data(), true), "");
  for (size_t i = 0; const uint32_t v : out.read()) EXPECT_EQ(v, 255 - i++ % 256);
}

TEST(Barriers, AMissingOneShows) {
  DeviceArray<uint32_t> out(256);
  EXPECT_EQ(run({.threads = 256}, reverse, out.data(), false), "");
  const auto values = out.read();
  EXPECT_GT(std::count(values.begin(), values.end(), 0xffffffffu), 0);
}

// Warps 0 and 1 fill, 2 and 3 read, twice; named barriers with arrivals that do not wait.
__global__ void hand_over(int* out) {
  __shared__ int place;
  const int warp = threadIdx.x / 32;
  for (int round = 1; round <= 2; ++round) {
    if (warp < 2) {
      if (round > 1) sync_threads(2, 128);
      if (threadIdx.x == 40) place = 10 * round;
      emulated::block_barrier_arrive(1, 128);
    } else {
      sync_threads(1, 128);
      out[(round - 1) * 64 + threadIdx.x - 64] = place;
      if (round == 1) emulated::block_barrier_arrive(2, 128);
    }
  }
}

TEST(Barriers, NamedOnesCountArrivals) {
  DeviceArray<int> out(128);
  EXPECT_EQ(run({.threads = 128}, hand_over, out.data()), "");
  for (size_t i = 0; const int v : out.read()) EXPECT_EQ(v, i++ < 64 ? 10 : 20);
}

__global__ void count_odd(int* out) {
  if (threadIdx.x >= 96) return; // ended threads count as arrived
  const int odd = __syncthreads_count(threadIdx.x % 2 == 1);
  out[threadIdx.x] = odd + 1000 * __syncthreads_or(threadIdx.x == 5) + 10000 * __syncthreads_and(threadIdx.x != 5);
}

TEST(Barriers, Count) {
  DeviceArray<int> out(96);
  EXPECT_EQ(run({.threads = 128}, count_odd, out.data()), "");
  for (const int v : out.read()) EXPECT_EQ(v, 1048);
}

__global__ void wait_for_half() {
  if (threadIdx.x < 64)
    __syncthreads();
  else
    sync_threads(3, 128);
}

TEST(Barriers, ADeadlockSaysWhoWaitsWhere) {
  const std::string text = run({.blocks = 2, .threads = 128}, wait_for_half);
  EXPECT_TEXT(text, "wait_for_half");
  EXPECT_TEXT(text, "deadlock");
  EXPECT_TEXT(text, "64 threads in __syncthreads (0-63)");
  EXPECT_TEXT(text, "64 threads in bar.sync (64-127)");
}

// Two halves of a block that take turns, `rounds` times. The first turn is the first half's; the second half gives it.
__global__ void turns(int rounds, int mistake) {
  const int half = threadIdx.x / 64;
  if (half == 1) arrive_threads(1, 128);
  for (int i = 0; i < rounds; ++i) {
    sync_threads(1 + half, 128);
    arrive_threads(2 - half, 128);
    if (mistake == 1 && half == 0 && i == 1) arrive_threads(2, 128); // gives a turn twice
  }
  if (half == 0 && mistake != 2) sync_threads(1, 128); // takes what the second half has no use for
}

TEST(Barriers, TurnsAreGivenAndTakenOnce) {
  EXPECT_EQ(run({.threads = 128}, turns, 0, 0), "");
  EXPECT_EQ(run({.threads = 128}, turns, 3, 0), "");
  EXPECT_TEXT(run({.threads = 128}, turns, 3, 1), "bar.arrive: arrives again at barrier 2");
  EXPECT_TEXT(run({.threads = 128}, turns, 3, 2), "the block ended with 64 of 128 threads at barrier 1");
}

__global__ void counts_differ() { sync_threads(1, threadIdx.x < 64 ? 128 : 96); }
TEST(Barriers, CountsThatDifferAreReported) { EXPECT_TEXT(run({.threads = 128}, counts_differ), "barrier 1 expects"); }

// --- warps -----------------------------------------------------------------------------------------------------------

__global__ void shuffles(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __shfl_xor_sync(0xffffffffu, lane, 5);
  out[32 + lane] = __shfl_up_sync(0xffffffffu, lane, 3);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 2, 8);
  out[96 + lane] = __shfl_sync(0xffffffffu, lane, 9, 16);
  // Two halves on their own, at different times.
  if (lane < 16)
    out[128 + lane] = __reduce_add_sync(0x0000ffffu, lane);
  else
    out[128 + lane] = __popc(__ballot_sync(0xffff0000u, lane % 4 == 0));
}

TEST(Warps, ShufflesAndVotes) {
  DeviceArray<int> out(160);
  EXPECT_EQ(run({}, shuffles, out.data()), "");
  const std::vector<int> v = out.read();
  for (int i = 0; i < 32; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_EQ(v[at], i ^ 5);
    EXPECT_EQ(v[32 + at], i < 3 ? i : i - 3);
    EXPECT_EQ(v[64 + at], i % 8 < 6 ? i + 2 : i);
    EXPECT_EQ(v[96 + at], i / 16 * 16 + 9);
    EXPECT_EQ(v[128 + at], i < 16 ? 120 : 4);
  }
}

__global__ void shuffle_from_ended(uint32_t* out) {
  if (threadIdx.x == 7) return;
  out[threadIdx.x] = __shfl_sync(0xffffffffu, threadIdx.x, threadIdx.x ^ 1);
}

TEST(Warps, ALaneThatHasEndedIsNotWaitedFor) {
  DeviceArray<uint32_t> out(std::vector<uint32_t>(32));
  EXPECT_EQ(run({}, shuffle_from_ended, out.data()), "");
  const auto v = out.read();
  EXPECT_EQ(v[5], 4u);
  EXPECT_EQ(v[6], 0xffffffffu); // of lane 7: undefined
}

__global__ void wrong_mask() {
  if (threadIdx.x < 16) __syncwarp(0xffff0000u);
}
__global__ void different_calls(int* out) {
  if (threadIdx.x < 16)
    out[0] = __shfl_sync(0xffffffffu, 1, 0);
  else
    __syncwarp();
}

TEST(Warps, WrongMasksAreReported) {
  EXPECT_TEXT(run({}, wrong_mask), "the mask does not name the lane");
  DeviceArray<int> out(1);
  EXPECT_TEXT(run({}, different_calls, out.data()), "while other lanes of the same mask are in");
}

// --- memory
// ------------------------------------------------------------------------------------------------------------

__global__ void copy_with_offset(const uint4* from, uint4* to, int shift) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  to[i] = from[static_cast<int>(i) + shift];
}

TEST(Memory, OutOfBoundsIsReportedWithItsThread) {
  DeviceArray<uint4> from(128), to(128);
  EXPECT_EQ(run({.blocks = 2, .threads = 64}, copy_with_offset, from.data(), to.data(), 0), "");
  const std::string after = run({.blocks = 2, .threads = 64}, copy_with_offset, from.data(), to.data(), 1);
  EXPECT_TEXT(after, "copy_with_offset, block 1,0,0, thread 63,0,0: read from");
  EXPECT_TEXT(after, "byte 2048 of an allocation of 2048 bytes");
  EXPECT_TEXT(run({.threads = 64}, copy_with_offset, from.data(), to.data(), -200), "bytes before an allocation");
  EXPECT_TEXT(run({}, copy_with_offset, from.data(), static_cast<uint4*>(nullptr), 0), "write to 0x");
  // The device still works.
  EXPECT_EQ(run({.blocks = 2, .threads = 64}, copy_with_offset, from.data(), to.data(), 0), "");
}

TEST(Memory, CopiesStayInsideTheirAllocations) {
  DeviceArray<char> device(std::vector<char>(100));
  std::vector<char> host(200);
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 50), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(device.data(), host.data(), 100, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(device.data() + 90, host.data(), 11, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host.data(), device.data(), 101, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(pinned, device.data(), 50, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(pinned, device.data(), 51, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host.data(), host.data() + 100, 8, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, 8), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(pinned), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
  (void)cudaGetLastError();
}

__global__ void overflow_stack(int* out, int depth) {
  volatile char large[64 * 1024];
  for (int i = 0; i < 64 * 1024; i += 64) large[i] = static_cast<char>(depth);
  if (depth > 0) overflow_stack(out, depth - 1);
  *out = large[640];
}

TEST(Memory, AStackThatOverflowsIsReported) {
  DeviceArray<int> out(1);
  EXPECT_EQ(run({.threads = 1}, overflow_stack, out.data(), 1), "");
  EXPECT_TEXT(run({.threads = 1}, overflow_stack, out.data(), 100), "stack of local variables");
}

__global__ void fill_dynamic(int count) {
  SPF_DYNAMIC_SHARED(int, memory, 16);
  for (int i = threadIdx.x; i < count; i += 32) memory[i] = i;
}
__global__ void fill_dynamic_by_address(int count) {
  SPF_DYNAMIC_SHARED(int, memory, 16);
  const uint32_t base = shared_address(memory);
  for (int i = threadIdx.x; i < count; i += 32) emulated::store_shared<int>(base + 4 * i, i);
}

TEST(Memory, SharedMemoryHasItsBounds) {
  EXPECT_EQ(run({.dynamic_bytes = 400}, fill_dynamic, 100), "");
  EXPECT_TEXT(run({.dynamic_bytes = 400}, fill_dynamic, 101), "byte 400 of a dynamic shared memory of 400 bytes");
  EXPECT_EQ(run({.dynamic_bytes = 400}, fill_dynamic_by_address, 100), "");
  EXPECT_TEXT(run({.dynamic_bytes = 400}, fill_dynamic_by_address, 101), "4 bytes at byte 400 of a dynamic shared");
  EXPECT_EQ(run({.dynamic_bytes = 64 * 1024}, fill_dynamic, 1), "cudaErrorInvalidValue"); // not asked for
}

// --- asynchronous copies ---------------------------------------------------------------------------------------------

__global__ void copy_groups(const uint4* from, uint32_t* out, int wait) {
  __shared__ uint4 places[2];
  for (int i = 0; i < 2; ++i) {
    copy_async<16>(shared_address(&places[i]), from + i, true);
    commit_copies();
  }
  if (wait == 1) wait_for_copies<1>();
  if (wait == 2) wait_for_copies<0>();
  out[0] = places[0].x;
  out[1] = places[1].x;
}

TEST(Copies, ArriveWhenWaitedForLate) {
  DeviceArray<uint4> from(std::vector<uint4>{{1, 1, 1, 1}, {2, 2, 2, 2}});
  const std::vector<uint32_t> expected[] = {{~0u, ~0u}, {1, ~0u}, {1, 2}};
  for (int wait = 0; wait < 3; ++wait) {
    DeviceArray<uint32_t> out(2);
    EXPECT_EQ(run({.threads = 1}, copy_groups, from.data(), out.data(), wait), "");
    EXPECT_EQ(out.read(), expected[wait]);
  }
}

// Two rounds of a barrier that counts bytes.
__global__ void bulk_rounds(const uint32_t* from, uint32_t* out, int mistake) {
  __shared__ __align__(16) uint32_t place[64];
  __shared__ Barrier barrier;
  if (threadIdx.x == 0 && mistake != 1) barrier.init(1);
  __syncthreads();
  for (uint32_t round = 0; round < 2; ++round) {
    if (threadIdx.x == 0) {
      barrier.arrive_expect(256 + (mistake == 2 ? 16 : 0));
      copy_bulk(shared_address(place), from + 64 * round, 256, barrier);
      if (mistake == 3) emulated::mbarrier_arrive(shared_address(&barrier.word), 1);
    }
    barrier.wait(round);
    out[64 * round + threadIdx.x] = place[threadIdx.x];
    __syncthreads();
  }
  if (threadIdx.x > 0) return;
  if (mistake == 4) emulated::mbarrier_complete(shared_address(&barrier.word), 16); // of a copy too long
  if (mistake == 5) emulated::mbarrier_expect(shared_address(&barrier.word), 32);   // none: nobody waits for them
}

TEST(Copies, BulkOnesCountBytesOnABarrier) {
  std::vector<uint32_t> numbers(128);
  std::iota(numbers.begin(), numbers.end(), 7u);
  DeviceArray<uint32_t> from(numbers), out(128);
  EXPECT_EQ(run({.threads = 64}, bulk_rounds, from.data(), out.data(), 0), "");
  EXPECT_EQ(out.read(), numbers);
  EXPECT_TEXT(run({.threads = 64}, bulk_rounds, from.data(), out.data(), 1), "no initialized mbarrier");
  EXPECT_TEXT(run({.threads = 64}, bulk_rounds, from.data(), out.data(), 2), "64 threads in mbarrier.try_wait");
  EXPECT_TEXT(run({.threads = 64}, bulk_rounds, from.data(), out.data(), 4), "to which 16 bytes came");
  EXPECT_EQ(run({.threads = 64}, bulk_rounds, from.data(), out.data(), 5), "");
}

TEST(Copies, TooManyArrivalsAreReportedLate) {
  DeviceArray<uint32_t> from(std::vector<uint32_t>(128)), out(128);
  EXPECT_TEXT(run({.threads = 64}, bulk_rounds, from.data(), out.data(), 3),
              "arrivals at a barrier that misses 0 of 1");
}

// --- clusters
// ----------------------------------------------------------------------------------------------------------

__global__ void gather_ranks(uint32_t* out, bool stay) {
  __shared__ uint32_t own;
  const uint32_t rank = cluster_rank();
  if (threadIdx.x == 0) own = 100 + rank;
  cluster_arrive();
  cluster_wait();
  uint32_t sum = 0;
  for (uint32_t r = 0; r < 4; ++r)
    sum = 10 * sum + emulated::load_shared<uint32_t>(in_block(shared_address(&own), r)) - 100;
  out[blockIdx.x * 64 + threadIdx.x] = sum;
  if (!stay) return;
  cluster_arrive();
  cluster_wait();
}

TEST(Clusters, BlocksReadEachOther) {
  DeviceArray<uint32_t> out(12 * 64);
  EXPECT_EQ(run({.blocks = 12, .threads = 64, .cluster = 4}, gather_ranks, out.data(), true), "");
  for (const uint32_t v : out.read()) EXPECT_EQ(v, 123u);
  EXPECT_TEXT(run({.blocks = 12, .threads = 64, .cluster = 4}, gather_ranks, out.data(), false), "which has ended");
}

// Block 1 stores into block 0 and ends; block 0 waits for it.
__global__ void store_and_end(float* out) {
  __shared__ __align__(16) float place[2];
  __shared__ Barrier barrier;
  if (threadIdx.x == 0) {
    barrier.init(1);
    if (cluster_rank() == 0) barrier.arrive_expect(8);
  }
  cluster_arrive();
  cluster_wait();
  if (cluster_rank() == 1) {
    if (threadIdx.x == 0) store_remote(place, barrier, 0, make_float2(3, 4));
    return;
  }
  barrier.wait(0);
  out[threadIdx.x] = place[threadIdx.x % 2];
}

TEST(Clusters, AStoreOutlivesItsBlock) {
  DeviceArray<float> out(32);
  EXPECT_EQ(run({.blocks = 2, .cluster = 2}, store_and_end, out.data()), "");
  EXPECT_EQ(out.read()[0], 3);
  EXPECT_EQ(out.read()[1], 4);
}

__global__ void one_waits() {
  if (cluster_rank() == 1) {
    cluster_arrive();
    cluster_wait();
  } else {
    __shared__ Barrier barrier;
    if (threadIdx.x == 0) barrier.init(1);
    __syncthreads();
    barrier.wait(0);
  }
}

TEST(Clusters, ADeadlockNamesEveryBlock) {
  const std::string text = run({.blocks = 2, .threads = 32, .cluster = 2}, one_waits);
  EXPECT_TEXT(text, "block 0: 32 threads in mbarrier.try_wait");
  EXPECT_TEXT(text, "block 1: 32 threads in barrier.cluster.wait");
}

// --- launches that depend on others
// ------------------------------------------------------------------------------------

__global__ void follow(bool waits) {
  launch_dependents();
  if (waits && threadIdx.x == 31) wait_for_primary();
}

TEST(Dependents, WaitForTheGridBeforeThem) {
  EXPECT_EQ(run({.dependent = true}, follow, true), "");
  EXPECT_EQ(run({.dependent = false}, follow, false), "");
  EXPECT_TEXT(run({.dependent = true}, follow, false), "follow: a dependent launch that never waits");
}

// --- streams
// -----------------------------------------------------------------------------------------------------------

__global__ void add_one(int* value) { *value += 1; }

TEST(Streams, AGraphRunsWhenLaunched) {
  DeviceArray<int> value(std::vector<int>{5});
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(run({.threads = 1, .stream = stream}, add_one, value.data()), "");
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
  (void)cudaGetLastError();
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaGraphExec_t executable;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  EXPECT_EQ(value.read()[0], 5);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  EXPECT_EQ(value.read()[0], 8);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

} // namespace
} // namespace spf::emulated_tests

// Timing on a GPU: graphs of many launches between two events, the last-level cache emptied before each replay.
#include <algorithm>
#include <chrono>
#include <thread>

#include <cuda_runtime_api.h>

#include "check/bench.hpp"

namespace spf::check {

void launch_empty(void* stream);
void launch_copy(const void* from, void* to, int64_t bytes, int blocks, void* stream);
void launch_read(const void* from, int64_t bytes, int blocks, void* never, void* stream);

namespace {

constexpr int64_t kFlushBytes = int64_t{512} << 20;
constexpr double kHeatMilliseconds = 200; // until the power limit holds the clock

void expect(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw Failure(std::string(what) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
}

struct Event {
  Event() { expect(cudaEventCreate(&event), "cudaEventCreate"); }
  ~Event() { (void)cudaEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t event = nullptr;
};

int full_grid(Memory& memory) { return memory.facts().sm_count * 4; }

double best(const std::vector<double>& times) { return *std::min_element(times.begin(), times.end()); }

} // namespace

namespace {

using Graph = std::shared_ptr<CUgraphExec_st>;

Graph capture(cudaStream_t stream, int launches, const std::function<void(int index, void* stream)>& launch) {
  expect(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    for (int i = 0; i < launches; ++i) launch(i, stream);
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    throw;
  }
  expect(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  (void)cudaGraphDestroy(graph);
  expect(made, "cudaGraphInstantiate");
  return {executable, [](cudaGraphExec_t e) { (void)cudaGraphExecDestroy(e); }};
}

// A rest after a replay of `milliseconds`, so that the device is busy for a tenth of the time.
void rest(double milliseconds) {
  std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(std::min(10 * milliseconds, 80.0)));
}

} // namespace

GraphTimes time_graph(Memory& memory, const GraphOptions& options,
                      const std::function<void(int index, void* stream)>& launch) {
  auto* stream = static_cast<cudaStream_t>(memory.stream(0));
  launch(0, stream); // loads the code
  memory.wait();
  const Block flush = memory.allocate(kFlushBytes), never = memory.allocate(4);
  Event begin, end;
  const auto milliseconds = [&](const Graph& graph) {
    // Reading leaves clean lines behind: a write would make the first launches pay for its way back to memory.
    if (options.cold) launch_read(flush.data(), kFlushBytes, full_grid(memory), never.data(), stream);
    expect(cudaGetLastError(), "launch");
    expect(cudaEventRecord(begin.event, stream), "cudaEventRecord");
    expect(cudaGraphLaunch(graph.get(), stream), "cudaGraphLaunch");
    expect(cudaEventRecord(end.event, stream), "cudaEventRecord");
    expect(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    float ms = 0;
    expect(cudaEventElapsedTime(&ms, begin.event, end.event), "cudaEventElapsedTime");
    return static_cast<double>(ms);
  };
  int launches = options.launches;
  Graph graph = capture(stream, launches, launch);
  double ms = std::min(milliseconds(graph), milliseconds(graph)); // the first ones also warm up
  if (options.fewest > 0 && ms > kLongReplay && launches > options.fewest) {
    launches = std::max(options.fewest, static_cast<int>(launches * kLongReplay / ms));
    graph = capture(stream, launches, launch);
    ms = milliseconds(graph);
  }
  GraphTimes times;
  const bool rests = options.rest && ms > kShortReplay;
  // Rested replays vary less than the clock of a busy device does, and each costs a rest.
  for (int i = 0; i < (rests ? std::min(options.repeats, 7) : options.repeats); ++i) {
    if (rests) rest(ms);
    times.each.push_back(1e3 * milliseconds(graph) / launches);
  }
  if (!rests || !options.sustained) return times;
  const auto replay = [&](double total) { // the time of a launch over `total` milliseconds without a rest
    const int replays = static_cast<int>(total / ms) + 1;
    expect(cudaEventRecord(begin.event, stream), "cudaEventRecord");
    for (int i = 0; i < replays; ++i) expect(cudaGraphLaunch(graph.get(), stream), "cudaGraphLaunch");
    expect(cudaEventRecord(end.event, stream), "cudaEventRecord");
    expect(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    float spent = 0;
    expect(cudaEventElapsedTime(&spent, begin.event, end.event), "cudaEventElapsedTime");
    return 1e3 * static_cast<double>(spent) / launches / replays;
  };
  (void)replay(kHeatMilliseconds);
  times.sustained = replay(kHeatMilliseconds / 4);
  return times;
}

Limits measure_cuda(Memory& memory) {
  Limits limits;
  const int64_t bytes = std::min<int64_t>(int64_t{1} << 30, memory.largest_block() / 8);
  const Block from = memory.allocate(bytes), to = memory.allocate(bytes), never = memory.allocate(4);
  expect(cudaMemset(from.data(), 1, static_cast<size_t>(bytes)), "cudaMemset");
  const double copied = 2.0 * static_cast<double>(bytes);
  const auto timed = [&](const std::function<void(void* stream)>& launch) {
    return best(time_graph(memory, {.launches = 8, .repeats = 5}, [&](int, void* stream) { launch(stream); }).each);
  };
  double copy_us = timed([&](void* stream) {
    expect(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                           static_cast<cudaStream_t>(stream)),
           "cudaMemcpyAsync");
  });
  double read_us = 1e30;
  // How many blocks a memory needs to be busy is the device's affair.
  for (int blocks_per_sm : {1, 2, 4, 8, 16, 64}) {
    const int blocks = memory.facts().sm_count * blocks_per_sm;
    copy_us = std::min(copy_us, timed([&](void* s) { launch_copy(from.data(), to.data(), bytes, blocks, s); }));
    read_us = std::min(read_us, timed([&](void* s) { launch_read(from.data(), bytes, blocks, never.data(), s); }));
  }
  limits.copy_bytes_per_second = 1e6 * copied / copy_us;
  limits.read_bytes_per_second = 1e6 * static_cast<double>(bytes) / read_us;
  const auto empty = [](int, void* stream) { launch_empty(stream); };
  limits.empty_us = best(time_graph(memory, {.launches = 1000, .repeats = 9}, empty).each);
  return limits;
}

} // namespace spf::check

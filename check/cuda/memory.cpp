#include "check/memory.hpp"

#include <cuda_runtime_api.h>

#include "check/status.hpp"

namespace spf::check {
namespace {

void expect(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw Failure(std::string(what) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
}

class CudaMemory final : public Memory {
 public:
  explicit CudaMemory(int index) {
    device_ = {SPF_CUDA, index};
    facts_.struct_size = sizeof facts_;
    if (spf_device_probe(device_, &facts_) != SPF_OK) throw NoDevice(last_error().message);
    expect(cudaSetDevice(index), "cudaSetDevice");
    for (cudaStream_t& stream : streams_)
      expect(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }

  ~CudaMemory() override {
    for (cudaStream_t stream : streams_) (void)cudaStreamDestroy(stream);
  }

  // A caching pool would hide out-of-bounds accesses from compute-sanitizer, so every block is an allocation of its
  // own.
  Block allocate(int64_t bytes, Edge) override {
    void* data = nullptr;
    const auto size = static_cast<size_t>(bytes > 0 ? bytes : 1);
    const cudaError_t error = cudaMalloc(&data, size);
    if (error == cudaErrorMemoryAllocation) (void)cudaGetLastError(); // not sticky, and not for later calls to find
    expect(error, "cudaMalloc");
    return Block(this, static_cast<std::byte*>(data), bytes, data, size);
  }

  int64_t largest_block() const override {
    size_t available = 0, total = 0;
    expect(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    return static_cast<int64_t>(available / 10 * 9);
  }

  void write(void* to, const void* host, int64_t bytes) override { move(to, host, bytes, cudaMemcpyHostToDevice); }
  void read(void* host, const void* from, int64_t bytes) override { move(host, from, bytes, cudaMemcpyDeviceToHost); }
  void copy(void* to, const void* from, int64_t bytes) override { move(to, from, bytes, cudaMemcpyDeviceToDevice); }
  void wait() override { expect(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); }

  bool has_streams() const override { return true; }
  void* stream(int index) override { return streams_[index & 1]; }

  std::function<void()> capture(const std::function<void()>& body) override {
    cudaStream_t stream = streams_[0];
    wait();
    expect(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      (void)cudaStreamEndCapture(stream, &graph);
      (void)cudaGetLastError();
      throw;
    }
    expect(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    (void)cudaGraphDestroy(graph);
    expect(error, "cudaGraphInstantiate");
    const std::shared_ptr<CUgraphExec_st> owned(executable, [](cudaGraphExec_t e) { (void)cudaGraphExecDestroy(e); });
    return [owned, stream] {
      expect(cudaGraphLaunch(owned.get(), stream), "cudaGraphLaunch");
      expect(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    };
  }

 private:
  // The test streams do not wait for the default stream, hence the explicit wait on both sides.
  void move(void* to, const void* from, int64_t bytes, cudaMemcpyKind kind) {
    if (bytes <= 0) return;
    wait();
    expect(cudaMemcpy(to, from, static_cast<size_t>(bytes), kind), "cudaMemcpy");
    wait();
  }

  void release(Block& block) override { (void)cudaFree(block.mapping()); }

  cudaStream_t streams_[2] = {};
};

} // namespace

std::unique_ptr<Memory> open_cuda(int index) { return std::make_unique<CudaMemory>(index); }

} // namespace spf::check

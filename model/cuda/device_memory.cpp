// CUDA: device memory, pinned host memory, one stream, graphs.
#include "model/device_memory.hpp"

#include <string>

#include <cuda_runtime_api.h>

#include "model/error.hpp"

namespace spearfish::model {
namespace {

void expect(cudaError_t error, const char* what, size_t bytes = 0) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError(); // not for later calls to find
    throw Error(SPF_OUT_OF_MEMORY, "", "memory", std::to_string(bytes) + " bytes asked for", "what the device has");
  }
  throw Error(SPF_DEVICE_ERROR, "", what, std::string(cudaGetErrorName(error)) + ", " + cudaGetErrorString(error), "");
}

class CudaDeviceMemory final : public DeviceMemory {
 public:
  explicit CudaDeviceMemory(int index) {
    device_ = Device::cuda(index);
    expect(cudaSetDevice(index), "cudaSetDevice");
    expect(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~CudaDeviceMemory() override { (void)cudaStreamDestroy(stream_); }

  void* stream() const override { return stream_; }

  size_t available() const override {
    size_t available = 0, total = 0;
    expect(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    return available;
  }

  MemoryBlock allocate(size_t bytes) override {
    void* data = nullptr;
    expect(cudaMalloc(&data, bytes > 0 ? bytes : 1), "cudaMalloc", bytes);
    MemoryBlock block(this, static_cast<std::byte*>(data), bytes, false);
    count(bytes);
    expect(cudaMemsetAsync(data, 0, bytes, stream_), "cudaMemsetAsync");
    return block;
  }

  MemoryBlock allocate_host(size_t bytes) override {
    void* data = nullptr;
    expect(cudaMallocHost(&data, bytes > 0 ? bytes : 1), "cudaMallocHost", bytes);
    return {this, static_cast<std::byte*>(data), bytes, true};
  }

  void copy_in(void* device, const void* host, size_t bytes) override {
    expect(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
  }
  void copy_out(void* host, const void* device, size_t bytes) override {
    expect(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "cudaMemcpyAsync");
  }
  void wait() override { expect(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

  std::function<void()> record(std::function<void()> body) override {
    wait();
    expect(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      (void)cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) (void)cudaGraphDestroy(graph);
      (void)cudaGetLastError();
      throw;
    }
    expect(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    (void)cudaGraphDestroy(graph);
    expect(error, "cudaGraphInstantiate");
    const std::shared_ptr<CUgraphExec_st> owned(executable, [](cudaGraphExec_t e) { (void)cudaGraphExecDestroy(e); });
    return [owned, stream = stream_] { expect(cudaGraphLaunch(owned.get(), stream), "cudaGraphLaunch"); };
  }

 private:
  void release(MemoryBlock& block) noexcept override {
    if (block.host()) {
      (void)cudaFreeHost(block.data());
      return;
    }
    allocated_ -= block.bytes();
    (void)cudaFree(block.data());
  }

  cudaStream_t stream_ = nullptr;
};

} // namespace

std::unique_ptr<DeviceMemory> open_cuda_memory(int index) { return std::make_unique<CudaDeviceMemory>(index); }

} // namespace spearfish::model

// The functions of the CUDA runtime that Spearfish calls, on the emulated device. Everything happens in the order in
// which it is asked for and has happened when the call returns, whatever the stream; while a stream is captured, calls
// are kept for the graph.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "emulator/launch.hpp"
#include "emulator/memory.hpp"
#include "emulator/tensor_map.hpp"

using Work = std::function<cudaError_t()>;

struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};
struct CUstream_st {
  std::unique_ptr<CUgraph_st> capture;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
};

namespace spf::emulated {
namespace {

struct DeviceRow {
  const char* name;
  int major, minor, multiprocessors;
  int64_t shared_memory, l2_bytes, memory_bytes;
};
constexpr DeviceRow kDevices[] = {
#include "devices.inc"
};

// SPEARFISH_EMULATED_DEVICE: a name of arch.toml or a target (sm_90); otherwise a device of the first target that
// the build was asked for.
const DeviceRow* find_device() {
  static const DeviceRow* const row = []() -> const DeviceRow* {
    const char* const text = std::getenv("SPEARFISH_EMULATED_DEVICE");
    const std::string name = text != nullptr && *text != 0 ? text : SPF_EMULATED_TARGET;
    for (const DeviceRow& d : kDevices)
      if (name == d.name || name == "sm_" + std::to_string(10 * d.major + d.minor)) return &d;
    return nullptr;
  }();
  return row;
}
const DeviceRow& device() { return *find_device(); } // for calls that come after cudaGetDeviceCount

// Memory pretended; pages are taken when touched.
constexpr int64_t kMemory = int64_t{16} << 30;

thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_fault;
thread_local CUgraph_st* capturing = nullptr;

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t fault_of(std::string what) {
  last_fault = std::move(what);
  return remember(cudaErrorLaunchFailure);
}

// Now, or when the graph runs.
cudaError_t submit(cudaStream_t stream, Work work) {
  if (stream != nullptr && stream->capture != nullptr) {
    stream->capture->work.push_back(std::move(work));
    return cudaSuccess;
  }
  return work();
}

// Whether a copy may touch `bytes` there: inside of a device allocation, or host memory, whose bounds are known where
// it is pinned.
bool may_copy(const void* pointer, size_t bytes, bool device) {
  const Extent extent = extent_at(pointer);
  if (device) return extent.owner == Owner::kDevice && bytes <= extent.left;
  return extent.owner == Owner::kNobody || (extent.owner == Owner::kPinnedHost && bytes <= extent.left);
}

std::mutex attributes_mutex;
std::map<const void*, int> most_dynamic_bytes; // that kernels were allowed

constexpr size_t kDynamicWithoutAsking = 48 * 1024;

} // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body) {
  LaunchSpec spec;
  spec.grid = config.gridDim;
  spec.block = config.blockDim;
  spec.dynamic_bytes = config.dynamicSmemBytes;
  spec.kernel = kernel;
  spec.body = std::move(body);
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension) {
      const auto& d = config.attrs[i].val.clusterDim;
      spec.cluster = dim3(d.x, d.y, d.z);
    }
    if (config.attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization)
      spec.dependent = config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
  }
  const uint64_t threads = uint64_t{spec.block.x} * spec.block.y * spec.block.z;
  const unsigned cluster = spec.cluster.x * spec.cluster.y * spec.cluster.z;
  if (spec.grid.x == 0 || spec.grid.y == 0 || spec.grid.z == 0 || spec.grid.y > 65535 || spec.grid.z > 65535 ||
      threads == 0 || threads > 1024 || cluster == 0 || cluster > 16 || spec.grid.x % spec.cluster.x != 0 ||
      spec.grid.y % spec.cluster.y != 0 || spec.grid.z % spec.cluster.z != 0)
    return remember(cudaErrorInvalidConfiguration);
  if (cluster > 1 && device().major < 9) return remember(cudaErrorInvalidConfiguration);
  if (spec.dynamic_bytes > kDynamicWithoutAsking) {
    const std::lock_guard lock(attributes_mutex);
    const auto allowed = most_dynamic_bytes.find(kernel);
    if (allowed == most_dynamic_bytes.end() || static_cast<size_t>(allowed->second) < spec.dynamic_bytes)
      return remember(cudaErrorInvalidValue);
  }
  // 1 KiB is the system's; what is left of the block's limit is for variables and dynamic memory.
  if (spec.dynamic_bytes + shared_variable_bytes(kernel) > static_cast<size_t>(device().shared_memory))
    return remember(cudaErrorInvalidValue);
  return submit(config.stream, [spec] {
    std::string wrong = run_grid(spec);
    return wrong.empty() ? cudaSuccess : fault_of(std::move(wrong));
  });
}

} // namespace spf::emulated

using namespace spf::emulated;

extern "C" {

// --- devices and errors
// --------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = find_device() != nullptr ? 1 : 0;
  return *count != 0 ? cudaSuccess : remember(cudaErrorNoDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int index) {
  if (index != 0) return remember(cudaErrorInvalidDevice);
  *prop = {};
  const DeviceRow& d = device();
  std::snprintf(prop->name, sizeof prop->name, "emulated %s", d.name);
  prop->major = d.major;
  prop->minor = d.minor;
  prop->multiProcessorCount = d.multiprocessors;
  prop->sharedMemPerBlock = kDynamicWithoutAsking;
  prop->sharedMemPerBlockOptin = static_cast<size_t>(d.shared_memory);
  prop->l2CacheSize = static_cast<int>(d.l2_bytes);
  prop->totalGlobalMem = static_cast<size_t>(kMemory);
  prop->warpSize = 32;
  prop->maxThreadsPerBlock = 1024;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  *index = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) { return index == 0 ? cudaSuccess : remember(cudaErrorInvalidDevice); }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    default:
      return "an error of the emulated device";
  }
}

// Of a launch that failed: what failed in it.
const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorLaunchFailure) return last_fault.c_str();
  if (error == cudaErrorNoDevice) return "SPEARFISH_EMULATED_DEVICE names no device of arch.toml";
  return error == cudaSuccess ? "no error" : cudaGetErrorName(error);
}

// --- memory
// --------------------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (device_bytes_in_use() + bytes > static_cast<size_t>(kMemory)) return remember(cudaErrorMemoryAllocation);
  *pointer = allocate(bytes, Owner::kDevice);
  return *pointer != nullptr ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* pointer) {
  return pointer == nullptr || release(pointer, Owner::kDevice) ? cudaSuccess : remember(cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  *pointer = allocate(bytes, Owner::kPinnedHost);
  return *pointer != nullptr ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* pointer) {
  return pointer == nullptr || release(pointer, Owner::kPinnedHost) ? cudaSuccess : remember(cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *total = static_cast<size_t>(kMemory);
  *available = *total - std::min(*total, device_bytes_in_use());
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && bytes > 0 &&
      (!may_copy(to, bytes, to_device) || !may_copy(from, bytes, from_device)))
    return remember(cudaErrorInvalidValue);
  std::memmove(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return submit(stream, [=] { return cudaMemcpy(to, from, bytes, kind); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  if (bytes > 0 && !may_copy(to, bytes, true)) return remember(cudaErrorInvalidValue);
  std::memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return submit(stream, [=] { return cudaMemset(to, value, bytes); });
}

// --- streams, events, graphs
// ---------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st();
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
// What would stall a stream must not happen while it is captured.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream != nullptr && stream->capture != nullptr ? remember(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return capturing != nullptr ? remember(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st();
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return submit(stream, [=] {
    event->time = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->capture != nullptr) return remember(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_unique<CUgraph_st>();
  capturing = stream->capture.get();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->capture.release();
  capturing = nullptr;
  return *graph != nullptr ? cudaSuccess : remember(cudaErrorStreamCaptureUnsupported);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      stream != nullptr && stream->capture != nullptr ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  for (const Work& work : executable->work)
    if (const cudaError_t error = work(); error != cudaSuccess) return error;
  return cudaSuccess;
}

// --- kernels
// -------------------------------------------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value + static_cast<int64_t>(shared_variable_bytes(kernel)) > device().shared_memory)
    return remember(cudaErrorInvalidValue);
  const std::lock_guard lock(attributes_mutex);
  most_dynamic_bytes[kernel] = value;
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&encode_tensor_map) : nullptr;
  if (found != nullptr) *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

} // extern "C"

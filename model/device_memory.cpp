#include "model/device_memory.hpp"

#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <string>

#include "model/error.hpp"

namespace spearfish::model {
namespace {

constexpr size_t kAlignment = 256;

// A number from a small text file of the kernel; `fallback` if there is none ("max").
uint64_t number_in(const char* path, uint64_t fallback) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? value : fallback;
}

// What Linux believes a process can still get, within the limits of its control group.
size_t available_memory() {
  uint64_t available = std::numeric_limits<int64_t>::max();
  std::ifstream info("/proc/meminfo");
  for (std::string key; info >> key; info.ignore(256, '\n')) {
    uint64_t kib = 0;
    if (key == "MemAvailable:" && info >> kib) available = kib * 1024;
  }
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max", std::numeric_limits<uint64_t>::max());
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current", 0);
  if (limit != std::numeric_limits<uint64_t>::max() && limit >= used) available = std::min(available, limit - used);
  return available;
}

class CpuDeviceMemory final : public DeviceMemory {
 public:
  size_t available() const override { return available_memory(); }

  MemoryBlock allocate(size_t bytes) override {
    MemoryBlock block(this, take(bytes), bytes, false);
    count(bytes);
    return block;
  }
  MemoryBlock allocate_host(size_t bytes) override { return {this, take(bytes), bytes, true}; }

  void copy_in(void* device, const void* host, size_t bytes) override { move(device, host, bytes); }
  void copy_out(void* host, const void* device, size_t bytes) override { move(host, device, bytes); }
  void wait() override {}
  std::function<void()> record(std::function<void()> body) override { return body; }

 private:
  static std::byte* take(size_t bytes) {
    void* data = ::operator new (bytes > 0 ? bytes : 1, std::align_val_t{kAlignment}, std::nothrow);
    if (data == nullptr)
      throw Error(SPF_OUT_OF_MEMORY, "", "memory", std::to_string(bytes) + " bytes asked for", "what the machine has");
    std::memset(data, 0, bytes);
    return static_cast<std::byte*>(data);
  }
  static void move(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void release(MemoryBlock& block) noexcept override {
    if (!block.host()) allocated_ -= block.bytes();
    ::operator delete (block.data(), std::align_val_t{kAlignment});
  }
};

} // namespace

MemoryBlock::~MemoryBlock() {
  if (owner_ != nullptr) owner_->release(*this);
}

std::unique_ptr<DeviceMemory> open_device_memory(Device device) {
  facts(device); // refuses a device that is not here, with those that are
  if (device.kind == SPF_CPU) return std::make_unique<CpuDeviceMemory>();
  return open_cuda_memory(device.index);
}

} // namespace spearfish::model

// Memory, copies and recorded steps of the device that a model runs on. One implementation for the CPU, one for CUDA in
// builds with a toolkit; the runner's code is the same on both.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "spearfish/cxx/device.hpp"

namespace spearfish::model {

class DeviceMemory;

// Owned memory: of the device, or of the host where the device reads and writes it directly. Move-only.
class MemoryBlock {
 public:
  MemoryBlock() = default;
  MemoryBlock(DeviceMemory* owner, std::byte* data, size_t bytes, bool host)
      : owner_(owner), data_(data), bytes_(bytes), host_(host) {}
  MemoryBlock(MemoryBlock&& other) noexcept { swap(other); }
  MemoryBlock& operator=(MemoryBlock&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MemoryBlock();

  std::byte* data() const noexcept { return data_; } // aligned to 256 bytes
  size_t bytes() const noexcept { return bytes_; }
  bool host() const noexcept { return host_; }

 private:
  void swap(MemoryBlock& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(host_, other.host_);
  }
  DeviceMemory* owner_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool host_ = false;
};

class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  Device device() const noexcept { return device_; }
  bool is_cpu() const noexcept { return device_.kind == SPF_CPU; }
  // The stream that everything here is ordered on; NULL on the CPU.
  virtual void* stream() const { return nullptr; }

  // Bytes that can be had now: what the system says, so the answer of one moment.
  virtual size_t available() const = 0;
  // Zeroed. Error (SPF_OUT_OF_MEMORY) with the bytes asked for.
  virtual MemoryBlock allocate(size_t bytes) = 0;
  virtual MemoryBlock allocate_host(size_t bytes) = 0;
  size_t allocated() const noexcept { return allocated_; } // of the device, now
  size_t peak() const noexcept { return peak_; }

  // In stream order; host memory from allocate_host() may be reused only after wait(). Plain host memory is copied
  // before the call returns.
  virtual void copy_in(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, size_t bytes) = 0;
  // Returns when everything before has happened. Error (SPF_DEVICE_ERROR) if the device reports a fault.
  virtual void wait() = 0;

  // What runs `body` again, in stream order: a CUDA graph of all that it launches and copies; on the CPU `body` itself.
  virtual std::function<void()> record(std::function<void()> body) = 0;

 protected:
  friend class MemoryBlock;
  virtual void release(MemoryBlock& block) noexcept = 0;
  void count(size_t bytes) noexcept {
    allocated_ += bytes;
    peak_ = peak_ > allocated_ ? peak_ : allocated_;
  }

  Device device_;
  size_t allocated_ = 0, peak_ = 0;
};

// Error (SPF_INVALID_DEVICE) if this machine or this build has no such device.
std::unique_ptr<DeviceMemory> open_device_memory(Device device);

// Implemented by cuda/ or no_cuda/.
std::unique_ptr<DeviceMemory> open_cuda_memory(int index);

} // namespace spearfish::model

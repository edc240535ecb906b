// The memory of a device: allocation with guarded edges, copies to and from the host, streams and graphs. One
// implementation for the CPU, one for CUDA (in builds with a toolkit).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "spearfish/device.h"

namespace spf::check {

// Which end of a block touches memory that must not be touched. On the CPU that is a page without access rights; CUDA
// has no such pages, there compute-sanitizer watches the edges.
enum class Edge { kStart, kEnd };

class Memory;

// Owned device memory.
class Block {
 public:
  Block() = default;
  Block(Memory* memory, std::byte* data, int64_t bytes, void* mapping, size_t mapped)
      : memory_(memory), data_(data), bytes_(bytes), mapping_(mapping), mapped_(mapped) {}
  Block(Block&& other) noexcept { swap(other); }
  Block& operator=(Block&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Block();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  void* mapping() const { return mapping_; }
  size_t mapped() const { return mapped_; }

 private:
  void swap(Block& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_, other.mapped_);
  }

  Memory* memory_ = nullptr;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
};

class Memory {
 public:
  virtual ~Memory() = default;

  spf_device device() const { return device_; }
  const spf_device_facts& facts() const { return facts_; }
  bool is_cpu() const { return device_.kind == SPF_CPU; }

  // Sparse on the CPU: only touched pages cost memory. kStart: data() is aligned to 256 bytes; kEnd: data() + bytes()
  // is the first byte that faults. Throws Failure if there is no room.
  virtual Block allocate(int64_t bytes, Edge edge = Edge::kStart) = 0;
  // Bytes that one allocation may take here.
  virtual int64_t largest_block() const = 0;
  virtual void write(void* to, const void* host, int64_t bytes) = 0;
  virtual void read(void* host, const void* from, int64_t bytes) = 0;
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;
  // Waits for everything and throws Failure if the device reports a fault.
  virtual void wait() = 0;

  // --- devices with streams and graphs; the CPU has none ---------------------------------------------------------
  virtual bool has_streams() const { return false; }
  // Two streams that run side by side; index 0 or 1.
  virtual void* stream(int) { return nullptr; }
  // Records what `body` launches on stream(0) as a graph. The returned function replays it and waits.
  virtual std::function<void()> capture(const std::function<void()>& body);

 protected:
  friend class Block;
  virtual void release(Block& block) = 0;

  spf_device device_ = {};
  spf_device_facts facts_ = {};
};

// "cpu", "cuda", "cuda:1". Throws UsageError for another name, NoDevice if there is no such device here.
std::unique_ptr<Memory> open_device(const std::string& name);

struct NoDevice : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Implemented by cuda/ or no_cuda/.
std::unique_ptr<Memory> open_cuda(int index);

} // namespace spf::check

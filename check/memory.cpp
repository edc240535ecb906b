#include "check/memory.hpp"

#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#include "check/status.hpp"

namespace spf::check {
namespace {

constexpr size_t kAlignment = 256;

class CpuMemory final : public Memory {
 public:
  CpuMemory() {
    device_ = {SPF_CPU, 0};
    facts_.struct_size = sizeof facts_;
    expect_ok(spf_device_probe(device_, &facts_), "spf_device_probe");
  }

  Block allocate(int64_t bytes, Edge edge) override {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t body = (static_cast<size_t>(bytes) + kAlignment + page - 1) / page * page;
    const size_t mapped = body + 2 * page; // a page without rights at either end
    void* mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw Failure("no address space for " + std::to_string(bytes) + " bytes");
    std::byte* begin = static_cast<std::byte*>(mapping) + page;
    if (mprotect(begin, body, PROT_READ | PROT_WRITE) != 0) {
      munmap(mapping, mapped);
      throw Failure("no memory for " + std::to_string(bytes) + " bytes");
    }
    std::byte* data = edge == Edge::kStart ? begin : begin + body - bytes;
    return Block(this, data, bytes, mapping, mapped);
  }

  int64_t largest_block() const override { return int64_t{1} << 44; }
  void write(void* to, const void* host, int64_t bytes) override { move(to, host, bytes); }
  void read(void* host, const void* from, int64_t bytes) override { move(host, from, bytes); }
  void copy(void* to, const void* from, int64_t bytes) override { move(to, from, bytes); }
  void wait() override {}

 private:
  static void move(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }

  void release(Block& block) override { munmap(block.mapping(), block.mapped()); }
};

} // namespace

Block::~Block() {
  if (memory_ != nullptr) memory_->release(*this);
}

std::function<void()> Memory::capture(const std::function<void()>&) { throw Failure("this device has no graphs"); }

std::unique_ptr<Memory> open_device(const std::string& name) {
  if (name == "cpu" || name == "cpu:0") return std::make_unique<CpuMemory>();
  if (name == "cuda") return open_cuda(0);
  if (name.starts_with("cuda:") && name.size() > 5 && name.find_first_not_of("0123456789", 5) == std::string::npos &&
      name.size() < 9)
    return open_cuda(std::stoi(name.substr(5)));
  throw UsageError("'" + name + "' is no device; known: cpu, cuda, cuda:N");
}

} // namespace spf::check

#include "emulator/memory.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include <sys/mman.h>

#include "emulator/block.hpp"

namespace spf::emulated {
namespace {

constexpr size_t kPage = 4096;
// Up to here fresh memory is filled with ones, as no kernel may count on zeros; beyond, pages stay untouched.
constexpr size_t kFilled = size_t{1} << 20;

struct Allocation {
  size_t bytes;
  char* mapping;
  size_t mapped;
  Owner owner;
  bool freed;
};

std::mutex mutex;
std::map<uintptr_t, Allocation> allocations; // by first byte; freed ones stay until their addresses come back
size_t in_use = 0;

} // namespace

void* allocate(size_t bytes, Owner owner) {
  const size_t rounded = (bytes + 15) / 16 * 16;
  const size_t body = (rounded + kPage - 1) / kPage * kPage, mapped = body + 2 * kPage;
  auto* const mapping = static_cast<char*>(
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (mapping == MAP_FAILED) return nullptr;
  mprotect(mapping, kPage, PROT_NONE);
  mprotect(mapping + kPage + body, kPage, PROT_NONE);
  char* const data = mapping + kPage + body - rounded;
  if (body <= kFilled) std::memset(mapping + kPage, 0xff, body);
  const std::lock_guard lock(mutex);
  const auto begin = reinterpret_cast<uintptr_t>(mapping);
  auto overlapping = allocations.lower_bound(begin);
  while (overlapping != allocations.end() && overlapping->first < begin + mapped)
    overlapping = allocations.erase(overlapping);
  allocations[reinterpret_cast<uintptr_t>(data)] = {bytes, mapping, mapped, owner, false};
  if (owner == Owner::kDevice) in_use += bytes;
  return data;
}

bool release(void* pointer, Owner owner) {
  const std::lock_guard lock(mutex);
  const auto at = allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (at == allocations.end() || at->second.freed || at->second.owner != owner) return false;
  munmap(at->second.mapping, at->second.mapped);
  at->second.freed = true;
  if (owner == Owner::kDevice) in_use -= at->second.bytes;
  return true;
}

Extent extent_at(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const std::lock_guard lock(mutex);
  const auto next = allocations.upper_bound(address);
  if (next == allocations.begin()) return {Owner::kNobody, 0};
  const auto& [first, a] = *std::prev(next);
  if (a.freed || address > first + a.bytes) return {Owner::kNobody, 0};
  return {a.owner, first + a.bytes - address};
}

size_t device_bytes_in_use() {
  const std::lock_guard lock(mutex);
  return in_use;
}

std::string describe_address(uintptr_t address) {
  char hex[32];
  std::snprintf(hex, sizeof hex, "0x%llx", static_cast<unsigned long long>(address));
  if (address < kPage) return std::string(hex) + ", a null pointer";
  const std::lock_guard lock(mutex);
  // The nearest allocation whose mapping holds the address.
  auto next = allocations.upper_bound(address);
  for (int step = 0; step < 2; ++step) {
    const bool before = step == 0;
    if (before ? next == allocations.begin() : next == allocations.end()) continue;
    const auto& [first, a] = *(before ? std::prev(next) : next);
    const auto mapping = reinterpret_cast<uintptr_t>(a.mapping);
    if (address < mapping || address >= mapping + a.mapped) continue;
    const std::string size = " of " + std::to_string(a.bytes) + " bytes";
    if (a.freed) return std::string(hex) + ", in an allocation" + size + " that was freed";
    if (address < first)
      return std::string(hex) + ", " + std::to_string(first - address) + " bytes before an allocation" + size;
    return std::string(hex) + ", byte " + std::to_string(address - first) + " of an allocation" + size;
  }
  return std::string(hex) + ", which is nobody's memory";
}

} // namespace spf::emulated

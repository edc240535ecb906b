// Shared addresses, what lies there, and the barriers of blocks that form a cluster.
#include <cstring>

#include "emulator/block.hpp"

namespace spf::emulated {
namespace {

constexpr int kRankShift = 24;
constexpr uint32_t kInBlock = (1u << kRankShift) - 1;

Block& block_of(uint32_t address) {
  const uint32_t rank = address >> kRankShift;
  Block& own = *current->block;
  if (rank == 0) return own;
  if (rank > own.cluster->blocks.size())
    fault("shared address of block " + std::to_string(rank - 1) + " in a cluster of " +
          std::to_string(own.cluster->blocks.size()));
  Block& other = own.cluster->blocks[rank - 1];
  if (other.alive == 0)
    fault("shared memory of block " + std::to_string(rank - 1) + " of the cluster, which has ended");
  return other;
}

std::string hex(uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

// --- the word of an mbarrier
// ------------------------------------------------------------------------------------------- bits 0-19 arrivals that
// are missing | 20-39 arrivals of a phase | 40-60 bytes that are missing, biased | 61 zero, 62 one: initialized | 63
// parity of the phase under way

constexpr int64_t kBias = 1 << 20;

struct Mbarrier {
  uint32_t missing, arrivals;
  int64_t bytes;
  uint32_t parity;
};

bool is_initialized(uint64_t word) { return (word >> 61 & 3) == 2; }
int64_t bytes_of(uint64_t word) { return static_cast<int64_t>(word >> 40 & 0x1fffff) - kBias; }

Mbarrier read(uint32_t address, const char* what, std::byte** place) {
  *place = shared_memory(address, 8, 8);
  uint64_t word;
  std::memcpy(&word, *place, 8);
  if (!is_initialized(word))
    fault(std::string(what) + ": there is no initialized mbarrier at shared address " + hex(address));
  return {static_cast<uint32_t>(word & 0xfffff), static_cast<uint32_t>(word >> 20 & 0xfffff), bytes_of(word),
          static_cast<uint32_t>(word >> 63)};
}

void write(std::byte* place, Mbarrier b) {
  if (b.missing == 0 && b.bytes == 0) {
    b.missing = b.arrivals;
    b.parity ^= 1;
  }
  const uint64_t word = b.missing | static_cast<uint64_t>(b.arrivals) << 20 |
                        static_cast<uint64_t>(b.bytes + kBias) << 40 | uint64_t{1} << 62 |
                        static_cast<uint64_t>(b.parity) << 63;
  std::memcpy(place, &word, 8);
}

void change_bytes(uint32_t address, int64_t change, const char* what) {
  std::byte* place;
  Mbarrier b = read(address, what, &place);
  b.bytes += change;
  if (b.bytes >= kBias || b.bytes <= -kBias) fault(std::string(what) + ": the byte count of an mbarrier overflows");
  write(place, b);
}

} // namespace

int64_t unexpected_bytes(const std::byte* place) {
  uint64_t word;
  std::memcpy(&word, place, 8);
  return is_initialized(word) ? std::max<int64_t>(-bytes_of(word), 0) : 0;
}

uint32_t shared_address(const void* pointer) {
  Block& own = *current->block;
  for (size_t r = 0; r <= own.cluster->blocks.size(); ++r) {
    const Block& block = r == 0 ? own : own.cluster->blocks[r - 1];
    const uint32_t rank = static_cast<uint32_t>(r) << kRankShift;
    const auto* const p = static_cast<const std::byte*>(pointer);
    const ptrdiff_t in_dynamic = p - block.dynamic;
    if (in_dynamic >= 0 && in_dynamic <= static_cast<ptrdiff_t>(block.grid->spec.dynamic_bytes))
      return rank | (block.dynamic_address + static_cast<uint32_t>(in_dynamic));
    for (const SharedVariable& v : block.grid->facts.shared) {
      const ptrdiff_t at = static_cast<const char*>(pointer) - (block.thread_pointer + v.from_thread_pointer);
      if (at >= 0 && at < static_cast<ptrdiff_t>(v.bytes)) return rank | (v.address + static_cast<uint32_t>(at));
    }
  }
  fault("the shared address of " + hex(reinterpret_cast<uintptr_t>(pointer)) + ", which is not shared memory");
}

std::byte* shared_memory(uint32_t address, size_t bytes, size_t alignment) {
  Block& block = block_of(address);
  const uint32_t in = address & kInBlock;
  if (in % alignment != 0)
    fault("shared address " + hex(address) + " is not a multiple of " + std::to_string(alignment));
  const size_t dynamic_bytes = block.grid->spec.dynamic_bytes;
  if (in >= block.dynamic_address) {
    const size_t at = in - block.dynamic_address;
    if (at + bytes <= dynamic_bytes) return block.dynamic + at;
    fault(std::to_string(bytes) + " bytes at byte " + std::to_string(at) + " of a dynamic shared memory of " +
          std::to_string(dynamic_bytes) + " bytes");
  }
  for (const SharedVariable& v : block.grid->facts.shared) {
    if (in < v.address || in >= v.address + v.bytes) continue;
    if (in + bytes <= v.address + v.bytes)
      return reinterpret_cast<std::byte*>(block.thread_pointer + v.from_thread_pointer) + (in - v.address);
    fault(std::to_string(bytes) + " bytes at byte " + std::to_string(in - v.address) + " of the shared variable " +
          v.name + " of " + std::to_string(v.bytes) + " bytes");
  }
  fault("shared address " + hex(address) + ", where no variable lies");
}

uint32_t shared_address_in(uint32_t address, uint32_t rank) {
  if (rank >= cluster_size())
    fault("block " + std::to_string(rank) + " in a cluster of " + std::to_string(cluster_size()));
  return (address & kInBlock) | (rank + 1) << kRankShift;
}

uint32_t absolute_address(uint32_t address) {
  return address >> kRankShift != 0 ? address : shared_address_in(address, cluster_rank());
}

void copy_engine(uint32_t destination, Deferred work) {
  Block& block = block_of(destination);
  if (asynchronous_is_late())
    block.engine.push_back(std::move(work));
  else
    work();
}

void* dynamic_shared(size_t alignment) {
  std::byte* const memory = current->block->dynamic;
  if (reinterpret_cast<uintptr_t>(memory) % alignment != 0)
    fault("dynamic shared memory on " + std::to_string(alignment) + " bytes; launches guarantee 128");
  return memory;
}

// --- clusters
// ------------------------------------------------------------------------------------------------------------

uint32_t cluster_rank() { return static_cast<uint32_t>(current->block->rank); }
uint32_t cluster_size() { return static_cast<uint32_t>(current->block->cluster->blocks.size()); }

void Cluster::thread_arrived() {
  if (++arrived < alive) return;
  arrived = 0;
  ++phase;
}

void Cluster::thread_ended() {
  --alive;
  if (alive == 0 || arrived < alive) return;
  arrived = 0;
  ++phase;
}

void cluster_arrive() {
  Thread& t = *current;
  if (t.cluster_phase >= 0) fault("barrier.cluster.arrive twice without a wait");
  t.cluster_phase = t.block->cluster->phase;
  t.block->cluster->thread_arrived();
}

void cluster_wait() {
  Thread& t = *current;
  if (t.cluster_phase < 0) fault("barrier.cluster.wait without an arrive");
  const Cluster& cluster = *t.block->cluster;
  wait_until("barrier.cluster.wait", [&] { return cluster.phase > t.cluster_phase; });
  t.cluster_phase = -1;
}

// --- mbarriers
// -----------------------------------------------------------------------------------------------------------

void mbarrier_init(uint32_t address, uint32_t arrivals) {
  if (arrivals == 0 || arrivals > 0xfffff) fault("mbarrier.init with " + std::to_string(arrivals) + " arrivals");
  std::byte* const place = shared_memory(address, 8, 8);
  write(place, {arrivals, arrivals, 0, 0});
  std::vector<const std::byte*>& known = current->block->mbarriers;
  if (std::ranges::find(known, place) == known.end()) known.push_back(place);
}

void mbarrier_arrive(uint32_t address, uint32_t count) {
  std::byte* place;
  Mbarrier b = read(address, "mbarrier.arrive", &place);
  if (count > b.missing)
    fault("mbarrier.arrive: " + std::to_string(count) + " arrivals at a barrier that misses " +
          std::to_string(b.missing) + " of " + std::to_string(b.arrivals));
  b.missing -= count;
  write(place, b);
}

void mbarrier_expect(uint32_t address, uint32_t bytes) { change_bytes(address, bytes, "mbarrier.expect_tx"); }
void mbarrier_complete(uint32_t address, uint32_t bytes) {
  change_bytes(address, -static_cast<int64_t>(bytes), "mbarrier.complete_tx");
}

bool mbarrier_passed(uint32_t address, uint32_t parity) {
  std::byte* place;
  return read(address, "mbarrier.test_wait", &place).parity != (parity & 1);
}

void mbarrier_wait(uint32_t address, uint32_t parity) {
  if (mbarrier_passed(address, parity)) return;
  // The scheduler asks from outside of any thread.
  const std::byte* const place = shared_memory(address, 8, 8);
  wait_until("mbarrier.try_wait", [&] {
    uint64_t word;
    std::memcpy(&word, place, 8);
    return static_cast<uint32_t>(word >> 63) != (parity & 1);
  });
}

} // namespace spf::emulated

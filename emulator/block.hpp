// Inside the emulator: blocks, warps and clusters while they run.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "emulator/machine.hpp"

namespace spf::emulated {

// A __shared__ variable of a kernel.
struct SharedVariable {
  std::string name;
  ptrdiff_t from_thread_pointer; // where it lies in every OS thread
  size_t bytes;
  uint32_t address; // in the shared window
};

struct KernelFacts {
  std::string name; // readable
  std::vector<SharedVariable> shared;
  uint32_t shared_end; // first shared address behind the variables
};
const KernelFacts& kernel_facts(const void* kernel);

struct Grid {
  explicit Grid(const LaunchSpec& s) : spec(s), facts(kernel_facts(s.kernel)) {}

  const LaunchSpec& spec;
  const KernelFacts& facts;
  int64_t blocks = 0;
  int cluster_size = 1;
  std::atomic<int64_t> next{0}; // cluster
  std::atomic<bool> failed{false};
  std::atomic<bool> waited{false}; // for the grid before it
  std::mutex mutex;
  std::string error;

  void fail(const std::string& what);
};

struct PendingCollective {
  uint32_t mask = 0, arrived = 0;
  const char* what = "";
  Collective run = nullptr;
  void* operands[32] = {};
};

struct Warp {
  Thread* lanes[32] = {};
  uint32_t ended = 0; // lanes that are done, or never were
  std::vector<PendingCollective> pending;
  Groups multiplications;
  int registers = 0, wanted = 0; // of a thread (setmaxnreg)
};

// What its warps multiply, in their order: the operands of those that some warps have not asked for yet.
struct Warpgroup {
  std::array<int64_t, 4> asked = {}; // by each warp
  int64_t first = 0;                 // that not all have asked for
  std::deque<std::array<uint64_t, 2>> operands;
};

struct NamedBarrier {
  int arrived = 0, expected = 0, sum = 0; // expected 0: nobody is here
  bool all = false;                       // expects all that have not ended
  std::vector<Thread*> here, waiting;     // waiting: those of them that do not only arrive
};

struct Cluster;

// The dynamic shared memory of an OS thread, with a guard page behind its end.
class SharedArena {
 public:
  SharedArena();
  ~SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;
  // All ones, surrounded by bytes whose change damage() reports.
  std::byte* prepare(size_t bytes);
  std::string damage() const;

 private:
  static constexpr size_t kBytes = 256 * 1024, kMargin = 128;
  std::byte* base_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

class Stacks {
 public:
  ~Stacks();
  void* take(); // top of a stack
  void give(void* top) { free_.push_back(top); }
  static bool is_guard(void* top, uintptr_t address);

 private:
  std::vector<void*> free_, all_;
};

struct Block {
  Grid* grid = nullptr;
  Cluster* cluster = nullptr;
  int rank = 0;
  uint3 index = {};
  int alive = 0;
  std::deque<Thread> threads;
  std::deque<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  int free_registers = 0; // that warps gave and none has taken
  std::vector<int> order;
  std::array<NamedBarrier, 16> barriers;
  std::vector<const std::byte*> mbarriers; // that were initialized
  std::deque<Deferred> engine;
  Thread engine_thread; // runs what the copy engine does
  std::byte* dynamic = nullptr;
  uint32_t dynamic_address = 0;
  void* scheduler = nullptr; // its stack pointer while a fiber runs
  char* thread_pointer = nullptr;
  Stacks* stacks = nullptr;
  SharedArena* arena = nullptr;

  void start(Grid& g, Cluster& c, int r, int64_t number);
  // Runs every thread that can run once; false if there was none.
  bool pass();
  void run(Thread& t);
  // The oldest copy that the engine has not made.
  void run_engine();
  void end();
  void thread_ended(Thread& t);
  std::string where_threads_wait() const;

 private:
  void divide_registers();
  // What warps left undone that their warpgroup did; "" if nothing.
  std::string warpgroups_damage() const;
  // Threads that others left at a barrier, bytes that no mbarrier expected; "" if none.
  std::string barriers_damage() const;
};

// Bytes that came to the mbarrier at `place` beyond those it expects; 0 if none did, or there is no mbarrier.
int64_t unexpected_bytes(const std::byte* place);

// The blocks of a cluster; one runs at a time.
struct Cluster {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Block> blocks;
  int turn = 0, running = 0, idle = 0; // idle: turns in a row in which nobody could go on
  int alive = 0, arrived = 0;          // threads of all blocks, and how many are at the cluster barrier
  int64_t phase = 0;                   // of the cluster barrier
  int gathered = 0, started = 0;
  int64_t round = 0, number = -1;

  void thread_arrived();
  void thread_ended();
};

void install_fault_handlers();
void remove_fault_handlers();
void use_signal_stack();
[[noreturn]] void switch_to_scheduler_for_good();

// "16 bytes behind the end of an allocation of 64 bytes", for an address that is nobody's.
std::string describe_address(uintptr_t address);

} // namespace spf::emulated

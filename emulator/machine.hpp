// A CUDA device on the CPU: what device code and the atoms of kernels/common may ask of it.
//
//   thread    a fiber: it runs until it waits for others, never interrupted
//   block     one OS thread, which runs the fibers of the block in turn; __shared__ variables are its thread_local ones
//   cluster   as many OS threads as blocks, one of which runs at a time
//   grid      blocks or clusters in order, as many at a time as there are cores
//
// What hardware leaves open is decided against the kernel: shared memory starts as all ones, asynchronous copies and
// warpgroup multiplications happen as late as they may, and warps run in an order of their own in every block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include <vector_types.h>

namespace spf::emulated {

struct Block;
struct Warp;

// A piece of work that hardware does beside the thread that asked for it.
using Deferred = std::function<void()>;

// Work of one thread or warp in groups, as cp.async and wgmma have them.
class Groups {
 public:
  void add(Deferred work) { open_.push_back(std::move(work)); }
  void commit();
  // Does all but the last `pending` groups.
  void wait(int pending);
  // Does everything, committed or not.
  void finish();
  bool empty() const { return open_.empty() && committed_.empty(); }
  void clear();

 private:
  std::vector<Deferred> open_;
  std::vector<std::vector<Deferred>> committed_;
};

enum class State : uint8_t { kReady, kWaiting, kDone };

struct Thread {
  uint3 index = {}; // threadIdx
  int number = 0;   // in the block
  int lane = 0;
  Block* block = nullptr;
  Warp* warp = nullptr;
  State state = State::kReady;
  // What it waits for: in words, and, where nobody wakes it, how to find out.
  const char* waits_for = "";
  bool (*over)(void*) = nullptr;
  void* over_state = nullptr;
  int result = 0;             // of a barrier that counts
  int64_t cluster_phase = -1; // of the cluster barrier, at which it arrived and did not yet wait
  uint16_t at_barriers = 0;   // bits: bar.sync or bar.arrive that others have not completed
  void* stack = nullptr;
  void* stack_pointer = nullptr;
  Groups copies;      // cp.async
  Groups bulk_stores; // cp.async.bulk from shared to global memory
};

// The thread whose code is running; nullptr outside kernels. Blocks stay on their OS thread.
extern thread_local constinit Thread* current __attribute__((tls_model("initial-exec")));

const uint3& block_index();
const dim3& block_dim();
const dim3& grid_dim();

// Ends the launch with an error that names kernel, block, thread and `what`.
[[noreturn]] void fault(const std::string& what);

// Lets others run until over(state).
void wait_until(const char* what, bool (*over)(void*), void* state);
template <class F>
void wait_until(const char* what, F&& over) {
  wait_until(
      what, [](void* f) { return (*static_cast<std::remove_reference_t<F>*>(f))(); }, &over);
}
void yield();

// --- warps -----------------------------------------------------------------------------------------------------------

// operands[lane] is what each lane of `mask` passed, nullptr for lanes outside and lanes that have ended.
using Collective = void (*)(void* const (&operands)[32], uint32_t mask);

// Waits until every lane of `mask` is here, calls `run` once for all of them, and goes on. The lanes have to ask for
// the same thing.
void collective(const char* what, uint32_t mask, Collective run, void* operands);
// The same by type: run(Operands* const (&)[32], uint32_t mask).
template <class Operands, void (*kRun)(Operands* const (&)[32], uint32_t)>
void collective(const char* what, uint32_t mask, Operands* operands) {
  collective(
      what, mask,
      [](void* const(&raw)[32], uint32_t lanes) {
        Operands* typed[32];
        for (int i = 0; i < 32; ++i) typed[i] = static_cast<Operands*>(raw[i]);
        kRun(typed, lanes);
      },
      operands);
}
// Of this thread's warp: asynchronous warpgroup multiplications.
Groups& warp_groups();
uint32_t lanes_of_warp(); // that have not ended
// setmaxnreg.inc, which waits until other warps have given enough, and .dec.
void set_registers(int count, bool more);
// Faults unless the other warps of the warpgroup give the same descriptors for the same multiplication.
void multiplies_as_warpgroup(const char* what, uint64_t a, uint64_t b);

// --- blocks ----------------------------------------------------------------------------------------------------------

// bar.sync and bar.arrive. threads: 0 for all of the block that have not ended.
void block_barrier(int id, int threads, const char* what);
void block_barrier_arrive(int id, int threads);
// All threads: how many of them passed true.
int block_barrier_count(bool value, const char* what);

// --- shared memory
// -----------------------------------------------------------------------------------------------------

// A shared address has the block's rank in its cluster, plus one, in the top bits; 0 there is the block itself.
uint32_t shared_address(const void* pointer);
// Faults unless all bytes belong to one variable, or to the dynamic part, of a block that still runs, and the address
// is a multiple of `alignment`.
std::byte* shared_memory(uint32_t address, size_t bytes, size_t alignment);
uint32_t shared_address_in(uint32_t address, uint32_t rank);
void* dynamic_shared(size_t alignment);

// --- clusters
// ----------------------------------------------------------------------------------------------------------

uint32_t cluster_rank();
uint32_t cluster_size();
void cluster_arrive();
void cluster_wait();

// --- barriers in shared memory
// -------------------------------------------------------------------------------------------

void mbarrier_init(uint32_t address, uint32_t arrivals);
void mbarrier_arrive(uint32_t address, uint32_t count = 1);
void mbarrier_expect(uint32_t address, uint32_t bytes);   // no arrival
void mbarrier_complete(uint32_t address, uint32_t bytes); // what an asynchronous write brought
bool mbarrier_passed(uint32_t address, uint32_t parity);
void mbarrier_wait(uint32_t address, uint32_t parity);

// Work of the copy engine that writes at a shared address: done at once, or when no thread of that block can go on. It
// may run on another block's OS thread, so `work` names shared memory by absolute_address().
void copy_engine(uint32_t destination, Deferred work);
// The same place, named as every block of the cluster may.
uint32_t absolute_address(uint32_t address);
// SPEARFISH_EMULATED_ASYNC: "late" (default) or "early".
bool asynchronous_is_late();

// griddepcontrol.wait: notes that the grid does so.
void wait_for_primary();

// --- launches
// ----------------------------------------------------------------------------------------------------------

struct LaunchSpec {
  dim3 grid = {}, block = {}, cluster = {1, 1, 1};
  size_t dynamic_bytes = 0;
  bool dependent = false; // may start before the grid before it has ended
  const void* kernel = nullptr;
  std::function<void()> body; // calls the kernel with its arguments
};

// Runs a grid to its end; "" or what went wrong.
std::string run_grid(const LaunchSpec& spec);

} // namespace spf::emulated

#include "emulator/block.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include <sys/mman.h>

namespace spf::emulated {

thread_local constinit Thread* current = nullptr;

namespace {

constexpr size_t kStackBytes = 256 * 1024, kPage = 4096;

// What spf_emulated_switch pops, then its return address, then the stack of fiber_main.
constexpr int kSavedRegisters = 6;

} // namespace
} // namespace spf::emulated

// void spf_emulated_switch(void** save, void* to): saves what a callee has to keep on this stack, and goes on on
// another.
asm(R"(
.text
.globl spf_emulated_switch
.hidden spf_emulated_switch
.type spf_emulated_switch, @function
spf_emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size spf_emulated_switch, .-spf_emulated_switch
)");
extern "C" void spf_emulated_switch(void** save, void* to);

namespace spf::emulated {
namespace {

// Which order the threads of a block run in: 0 ascending, others draw one for each block.
uint64_t order_seed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("SPEARFISH_EMULATED_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 1ull;
  }();
  return seed;
}

void draw_order(std::vector<int>& order, int threads, uint64_t seed) {
  order.resize(static_cast<size_t>(threads));
  std::vector<int> warps(static_cast<size_t>((threads + 31) / 32));
  for (size_t w = 0; w < warps.size(); ++w) warps[w] = static_cast<int>(w);
  const auto draw = [&seed] {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
  };
  if (seed != 0)
    for (size_t w = warps.size(); w > 1; --w) std::swap(warps[w - 1], warps[draw() % w]);
  const bool reversed = seed != 0 && (draw() & 1) != 0;
  size_t at = 0;
  for (int w : warps) {
    const int first = w * 32, end = std::min(threads, first + 32);
    for (int i = first; i < end; ++i) order[at++] = reversed ? end - 1 - (i - first) : i;
  }
}

void switch_to_scheduler() {
  Thread* const t = current;
  spf_emulated_switch(&t->stack_pointer, t->block->scheduler);
}

void fiber_main() {
  Thread* const t = current;
  if (t->number < 0) {
    const Deferred work = std::move(t->block->engine.front());
    t->block->engine.pop_front();
    work();
    t->state = State::kDone;
    switch_to_scheduler();
  }
  t->block->grid->spec.body();
  t->copies.finish();
  t->bulk_stores.finish();
  t->state = State::kDone;
  t->block->thread_ended(*t);
  switch_to_scheduler();
  __builtin_unreachable();
}

void finish(Warp& warp, size_t which) {
  PendingCollective done = std::move(warp.pending[which]);
  warp.pending.erase(warp.pending.begin() + static_cast<ptrdiff_t>(which));
  done.run(done.operands, done.arrived);
  for (int lane = 0; lane < 32; ++lane)
    if ((done.arrived >> lane & 1) != 0) warp.lanes[lane]->state = State::kReady;
}

bool is_complete(const Warp& warp, const PendingCollective& p) { return (p.mask & ~warp.ended & ~p.arrived) == 0; }

void release_if_full(Block& block, NamedBarrier& barrier) {
  if (barrier.expected == 0) return;
  const int expected = barrier.all ? block.alive : barrier.expected;
  if (barrier.arrived < expected) return;
  const auto own = static_cast<uint16_t>(1u << (&barrier - block.barriers.data()));
  for (Thread* t : barrier.here) t->at_barriers = static_cast<uint16_t>(t->at_barriers & ~own);
  for (Thread* t : barrier.waiting) {
    t->result = barrier.sum;
    t->state = State::kReady;
  }
  barrier = {};
}

} // namespace

void switch_to_scheduler_for_good() {
  current->state = State::kDone;
  switch_to_scheduler();
  __builtin_unreachable();
}

// --- groups
// ------------------------------------------------------------------------------------------------------------

void Groups::commit() {
  committed_.push_back(std::move(open_));
  open_.clear();
}

void Groups::wait(int pending) {
  while (committed_.size() > static_cast<size_t>(pending)) {
    const std::vector<Deferred> group = std::move(committed_.front());
    committed_.erase(committed_.begin());
    for (const Deferred& work : group) work();
  }
}

void Groups::finish() {
  commit();
  wait(0);
}

void Groups::clear() {
  open_.clear();
  committed_.clear();
}

bool asynchronous_is_late() {
  static const bool late = [] {
    const char* text = std::getenv("SPEARFISH_EMULATED_ASYNC");
    return text == nullptr || std::strcmp(text, "early") != 0;
  }();
  return late;
}

// --- memory of a block
// -------------------------------------------------------------------------------------------------

SharedArena::SharedArena() {
  base_ = static_cast<std::byte*>(
      mmap(nullptr, kBytes + 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (base_ == MAP_FAILED) std::abort();
  mprotect(base_ + kPage + kBytes, kPage, PROT_NONE);
}

SharedArena::~SharedArena() { munmap(base_, kBytes + 2 * kPage); }

std::byte* SharedArena::prepare(size_t bytes) {
  bytes_ = bytes;
  data_ = base_ + kPage + kBytes - (bytes + kMargin - 1) / kMargin * kMargin;
  std::byte* const begin = data_ - kMargin;
  std::memset(begin, 0xff, static_cast<size_t>(base_ + kPage + kBytes - begin));
  return data_;
}

std::string SharedArena::damage() const {
  for (const std::byte* p = data_ - kMargin; p < data_; ++p)
    if (*p != std::byte{0xff})
      return std::to_string(data_ - p) + " bytes before the dynamic shared memory were written";
  for (const std::byte* p = data_ + bytes_; p < base_ + kPage + kBytes; ++p)
    if (*p != std::byte{0xff})
      return "byte " + std::to_string(p - data_) + " of a dynamic shared memory of " + std::to_string(bytes_) +
             " bytes was written";
  return "";
}

Stacks::~Stacks() {
  for (void* top : all_) munmap(static_cast<char*>(top) - kStackBytes, kStackBytes);
}

void* Stacks::take() {
  if (free_.empty()) {
    char* const base = static_cast<char*>(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0));
    if (base == MAP_FAILED) std::abort();
    mprotect(base, kPage, PROT_NONE);
    all_.push_back(base + kStackBytes);
    return all_.back();
  }
  void* const top = free_.back();
  free_.pop_back();
  return top;
}

bool Stacks::is_guard(void* top, uintptr_t address) {
  const uintptr_t base = reinterpret_cast<uintptr_t>(top) - kStackBytes;
  return address >= base - kPage && address < base + kPage;
}

// --- blocks
// --------------------------------------------------------------------------------------------------------------

void Grid::fail(const std::string& what) {
  const std::lock_guard lock(mutex);
  if (!failed.exchange(true)) error = what;
}

void Block::start(Grid& g, Cluster& c, int r, int64_t number) {
  grid = &g;
  cluster = &c;
  rank = r;
  const dim3& grid_size = g.spec.grid;
  index = {static_cast<unsigned>(number % grid_size.x), static_cast<unsigned>(number / grid_size.x % grid_size.y),
           static_cast<unsigned>(number / (int64_t{grid_size.x} * grid_size.y))};
  const dim3& size = g.spec.block;
  alive = static_cast<int>(size.x * size.y * size.z);
  if (static_cast<int>(threads.size()) != alive) {
    threads.clear();
    threads.resize(static_cast<size_t>(alive));
    warps.clear();
    warps.resize(static_cast<size_t>((alive + 31) / 32));
  }
  barriers = {};
  mbarriers.clear();
  engine.clear();
  for (Warp& warp : warps) {
    warp.ended = 0xffffffffu;
    warp.pending.clear();
    warp.multiplications.clear();
  }
  divide_registers();
  for (int i = 0; i < alive; ++i) {
    Thread& t = threads[static_cast<size_t>(i)];
    const auto n = static_cast<unsigned>(i);
    t.index = {n % size.x, n / size.x % size.y, n / (size.x * size.y)};
    t.number = i;
    t.lane = i % 32;
    t.block = this;
    t.warp = &warps[static_cast<size_t>(i / 32)];
    t.warp->lanes[t.lane] = &t;
    t.warp->ended &= ~(1u << t.lane);
    t.state = State::kReady;
    t.over = nullptr;
    t.cluster_phase = -1;
    t.at_barriers = 0;
    t.stack = t.stack_pointer = nullptr;
    t.copies.clear();
    t.bulk_stores.clear();
  }
  draw_order(order, alive, order_seed() * (2 * static_cast<uint64_t>(number) + 1) * 0x9e3779b97f4a7c15ull);
  thread_pointer = static_cast<char*>(__builtin_thread_pointer());
  for (const SharedVariable& v : g.facts.shared) std::memset(thread_pointer + v.from_thread_pointer, 0xff, v.bytes);
  dynamic = arena->prepare(g.spec.dynamic_bytes);
  // Same low bits as the pointer, for kernels that align one by the other.
  const auto low = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(dynamic) & 1023);
  dynamic_address = ((g.facts.shared_end + 1023) & ~1023u) + low;
}

bool Block::pass() {
  bool ran = false;
  for (int i : order) {
    Thread& t = threads[static_cast<size_t>(i)];
    if (t.state == State::kDone) continue;
    if (t.state == State::kWaiting) {
      if (t.over == nullptr) continue;
      if (!t.over(t.over_state)) continue;
      t.over = nullptr;
      t.state = State::kReady;
    }
    ran = true;
    run(t);
    if (grid->failed) return true;
  }
  return ran;
}

void Block::run_engine() {
  engine_thread.block = this;
  engine_thread.number = -1;
  engine_thread.state = State::kReady;
  run(engine_thread);
}

void Block::run(Thread& t) {
  current = &t;
  if (t.stack == nullptr) {
    t.stack = stacks->take();
    void** const top = static_cast<void**>(t.stack);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(&fiber_main);
    for (int r = 0; r < kSavedRegisters; ++r) top[-3 - r] = nullptr;
    t.stack_pointer = top - 2 - kSavedRegisters;
  }
  spf_emulated_switch(&scheduler, t.stack_pointer);
  current = nullptr;
  if (t.state == State::kDone) {
    stacks->give(t.stack);
    t.stack = nullptr;
  }
}

void Block::thread_ended(Thread& t) {
  --alive;
  Warp& warp = *t.warp;
  warp.ended |= 1u << t.lane;
  for (size_t i = 0; i < warp.pending.size();) {
    if (is_complete(warp, warp.pending[i]))
      finish(warp, i);
    else
      ++i;
  }
  for (NamedBarrier& barrier : barriers)
    if (barrier.all) release_if_full(*this, barrier);
  cluster->thread_ended();
}

void Block::end() {
  for (Thread& t : threads) {
    if (t.stack != nullptr) stacks->give(t.stack);
    t.stack = nullptr;
  }
  if (grid->failed) return;
  std::string wrong = arena->damage();
  if (wrong.empty() && !engine.empty())
    wrong = "the block ended with " + std::to_string(engine.size()) + " copies of the copy engine under way";
  for (const Warp& warp : warps)
    if (wrong.empty() && !warp.multiplications.empty()) wrong = "a warp ended without waiting for its multiplications";
  if (wrong.empty()) wrong = barriers_damage();
  if (wrong.empty()) wrong = warpgroups_damage();
  if (!wrong.empty())
    grid->fail(grid->facts.name + ", block " + std::to_string(index.x) + "," + std::to_string(index.y) + "," +
               std::to_string(index.z) + ": " + wrong);
}

std::string Block::barriers_damage() const {
  for (size_t id = 0; id < barriers.size(); ++id)
    if (barriers[id].arrived > 0)
      return "the block ended with " + std::to_string(barriers[id].arrived) + " of " +
             std::to_string(barriers[id].expected) + " threads at barrier " + std::to_string(id);
  for (const std::byte* place : mbarriers)
    if (const int64_t bytes = unexpected_bytes(place); bytes > 0) // who waits for bytes that miss is found waiting
      return "the block ended with an mbarrier to which " + std::to_string(bytes) + " bytes came that nobody expected";
  return "";
}

std::string Block::where_threads_wait() const {
  std::map<std::string, std::vector<int>> by_place;
  for (const Thread& t : threads)
    if (t.state != State::kDone) by_place[t.waits_for].push_back(t.number);
  std::string out;
  for (const auto& [place, numbers] : by_place) {
    out += (out.empty() ? "" : "; ") + std::to_string(numbers.size()) + " threads in " + place + " (";
    size_t shown = 0;
    for (size_t i = 0; i < numbers.size();) {
      size_t j = i;
      while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
      if (shown++ == 8) {
        out += ", ...";
        break;
      }
      out += (i > 0 ? ", " : "") + std::to_string(numbers[i]) + (j > i ? "-" + std::to_string(numbers[j]) : "");
      i = j + 1;
    }
    out += ")";
  }
  return out.empty() ? "all threads have ended" : out;
}

// --- what device code asks for
// -------------------------------------------------------------------------------------------

const uint3& block_index() { return current->block->index; }
const dim3& block_dim() { return current->block->grid->spec.block; }
const dim3& grid_dim() { return current->block->grid->spec.grid; }

void fault(const std::string& what) {
  const Thread& t = *current;
  const auto three = [](const uint3& v) {
    return std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z);
  };
  t.block->grid->fail(t.block->grid->facts.name + ", block " + three(t.block->index) +
                      (t.number < 0 ? ", a copy of the copy engine" : ", thread " + three(t.index)) + ": " + what);
  switch_to_scheduler_for_good();
}

void wait_until(const char* what, bool (*over)(void*), void* state) {
  if (over(state)) return;
  Thread& t = *current;
  t.waits_for = what;
  t.over = over;
  t.over_state = state;
  t.state = State::kWaiting;
  switch_to_scheduler();
}

void yield() { switch_to_scheduler(); }

void collective(const char* what, uint32_t mask, Collective run, void* operands) {
  Thread& t = *current;
  Warp& warp = *t.warp;
  const uint32_t own = 1u << t.lane;
  if ((mask & own) == 0) fault(std::string(what) + ": the mask does not name the lane that calls it");
  size_t at = 0;
  while (at < warp.pending.size() && warp.pending[at].mask != mask) ++at;
  if (at == warp.pending.size()) {
    warp.pending.emplace_back();
    warp.pending[at].mask = mask;
    warp.pending[at].what = what;
    warp.pending[at].run = run;
  }
  PendingCollective& p = warp.pending[at];
  if (p.run != run) fault(std::string(what) + " while other lanes of the same mask are in " + p.what);
  p.arrived |= own;
  p.operands[t.lane] = operands;
  t.waits_for = what;
  t.over = nullptr;
  t.state = State::kWaiting;
  if (is_complete(warp, p)) {
    finish(warp, at);
    return; // its own state is ready again
  }
  switch_to_scheduler();
}

Groups& warp_groups() { return current->warp->multiplications; }
uint32_t lanes_of_warp() { return ~current->warp->ended; }

namespace {

NamedBarrier& arrive(int id, int count, const char* what) {
  if (id < 0 || id > 15) fault(std::string(what) + ": barrier " + std::to_string(id) + " does not exist; 0 to 15 do");
  Block& block = *current->block;
  if (count % 32 != 0 || count > static_cast<int>(block.threads.size()))
    fault(std::string(what) + ": " + std::to_string(count) + " threads are no whole number of this block's warps");
  NamedBarrier& barrier = block.barriers[static_cast<size_t>(id)];
  const int expected = count == 0 ? static_cast<int>(block.threads.size()) : count;
  if (barrier.expected == 0) {
    barrier.expected = expected;
    barrier.all = count == 0;
  }
  if (barrier.expected != expected)
    fault(std::string(what) + ": barrier " + std::to_string(id) + " expects " + std::to_string(barrier.expected) +
          " threads, not " + std::to_string(expected));
  const auto own = static_cast<uint16_t>(1u << id);
  if ((current->at_barriers & own) != 0)
    fault(std::string(what) + ": arrives again at barrier " + std::to_string(id) + ", where others are missing");
  current->at_barriers |= own;
  barrier.here.push_back(current);
  ++barrier.arrived;
  return barrier;
}

int barrier_sum(int id, int count, int value, const char* what) {
  Thread& t = *current;
  NamedBarrier& barrier = arrive(id, count, what);
  barrier.sum += value;
  barrier.waiting.push_back(&t);
  t.waits_for = what;
  t.over = nullptr;
  t.state = State::kWaiting;
  release_if_full(*t.block, barrier);
  if (t.state == State::kWaiting) switch_to_scheduler();
  return t.result;
}

} // namespace

void block_barrier(int id, int threads, const char* what) { barrier_sum(id, threads, 0, what); }
int block_barrier_count(bool value, const char* what) { return barrier_sum(0, 0, value ? 1 : 0, what); }

void wait_for_primary() { current->block->grid->waited = true; }

void block_barrier_arrive(int id, int threads) {
  NamedBarrier& barrier = arrive(id, threads, "bar.arrive");
  release_if_full(*current->block, barrier);
}

} // namespace spf::emulated

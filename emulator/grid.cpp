// Running grids: OS threads that take blocks or clusters in order.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <pthread.h>

#include "emulator/block.hpp"

namespace spf::emulated {
namespace {

// What a grid needs in memory; kept from launch to launch.
class Machine {
 public:
  std::string run(const LaunchSpec& spec) {
    const std::lock_guard one_at_a_time(launch_);
    Grid grid(spec);
    grid.blocks = int64_t{spec.grid.x} * spec.grid.y * spec.grid.z;
    grid.cluster_size = static_cast<int>(spec.cluster.x * spec.cluster.y * spec.cluster.z);
    const int64_t clusters = grid.blocks / grid.cluster_size;
    const int side_by_side =
        static_cast<int>(std::min<int64_t>(clusters, std::max(1u, std::thread::hardware_concurrency())));
    grow(side_by_side * grid.cluster_size);
    std::deque<Cluster> running(static_cast<size_t>(side_by_side));
    for (Cluster& c : running) c.blocks = std::vector<Block>(static_cast<size_t>(grid.cluster_size));
    install_fault_handlers();
    {
      std::unique_lock lock(mutex_);
      for (int w = 0; w < side_by_side * grid.cluster_size; ++w) {
        Worker& worker = workers_[static_cast<size_t>(w)];
        worker.grid = &grid;
        worker.cluster = &running[static_cast<size_t>(w / grid.cluster_size)];
        worker.rank = w % grid.cluster_size;
      }
      busy_ = side_by_side * grid.cluster_size;
      ++generation_;
      work_.notify_all();
      wait_for_workers(lock, grid);
    }
    remove_fault_handlers();
    // Grids after it take its end for that of all grids before.
    if (spec.dependent && !grid.waited && !grid.failed)
      grid.fail(grid.facts.name + ": a dependent launch that never waits for the grid before it");
    return grid.error;
  }

  ~Machine() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      work_.notify_all();
    }
    for (Worker& w : workers_) w.thread.join();
  }

 private:
  struct Worker {
    std::thread thread;
    Grid* grid = nullptr;
    Cluster* cluster = nullptr;
    int rank = 0;
    Stacks stacks;
    SharedArena arena;
  };

  static std::chrono::seconds patience() {
    const char* text = std::getenv("SPEARFISH_EMULATED_TIMEOUT");
    return std::chrono::seconds(text != nullptr ? std::max(1, std::atoi(text)) : 300);
  }

  // A thread that computes for ever, or spins on memory that nobody writes, is ended where it stands.
  void wait_for_workers(std::unique_lock<std::mutex>& lock, Grid& grid) {
    const auto all_done = [&] { return busy_ == 0; };
    if (done_.wait_for(lock, patience(), all_done)) return;
    while (busy_ != 0) {
      for (Worker& w : workers_)
        if (w.grid != nullptr) pthread_kill(w.thread.native_handle(), SIGUSR2);
      grid.fail(grid.facts.name + ": did not end in " + std::to_string(patience().count()) + " s");
      done_.wait_for(lock, std::chrono::seconds(1), all_done);
    }
  }

  void grow(int count) {
    while (static_cast<int>(workers_.size()) < count) {
      Worker& worker = workers_.emplace_back();
      worker.thread = std::thread([this, &worker] { serve(worker); });
    }
  }

  void serve(Worker& worker) {
    use_signal_stack();
    uint64_t seen = 0;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        work_.wait(lock, [&] { return stop_ || (generation_ != seen && worker.grid != nullptr); });
        if (stop_) return;
        seen = generation_;
      }
      run_clusters(worker);
      const std::lock_guard lock(mutex_);
      worker.grid = nullptr;
      if (--busy_ == 0) done_.notify_all();
    }
  }

  static void run_clusters(Worker& worker) {
    Grid& grid = *worker.grid;
    Cluster& cluster = *worker.cluster;
    Block& block = cluster.blocks[static_cast<size_t>(worker.rank)];
    block.stacks = &worker.stacks;
    block.arena = &worker.arena;
    while (true) {
      const int64_t number = next_cluster(grid, cluster, worker.rank);
      if (number < 0) return;
      block.start(grid, cluster, worker.rank, number * grid.cluster_size + worker.rank);
      run_block(cluster, block);
      block.end();
    }
  }

  // The first block of a cluster takes the next number for all; all are there when it does, and all leave together.
  static int64_t next_cluster(Grid& grid, Cluster& cluster, int rank) {
    std::unique_lock lock(cluster.mutex);
    const int64_t round = cluster.round;
    if (++cluster.gathered == grid.cluster_size) {
      cluster.gathered = 0;
      ++cluster.round;
      const int64_t number = grid.failed ? grid.blocks : grid.next++;
      cluster.number = number * grid.cluster_size < grid.blocks ? number : -1;
      const dim3& size = grid.spec.block;
      cluster.alive = static_cast<int>(size.x * size.y * size.z) * grid.cluster_size;
      cluster.arrived = cluster.idle = cluster.turn = cluster.started = 0;
      cluster.running = grid.cluster_size;
      cluster.phase = 0;
      cluster.changed.notify_all();
    }
    cluster.changed.wait(lock, [&] { return cluster.round != round; });
    (void)rank;
    return cluster.number;
  }

  static void run_block(Cluster& cluster, Block& block) {
    Grid& grid = *block.grid;
    std::unique_lock lock(cluster.mutex);
    if (++cluster.started == grid.cluster_size) cluster.changed.notify_all();
    cluster.changed.wait(lock, [&] { return cluster.started == grid.cluster_size; });
    while (true) {
      cluster.changed.wait(lock, [&] { return cluster.turn == block.rank || grid.failed; });
      if (grid.failed) break;
      lock.unlock();
      bool progress = false;
      while (block.alive > 0 && !grid.failed) {
        if (block.pass()) {
          progress = true;
        } else if (!block.engine.empty()) {
          block.run_engine();
          progress = true;
        } else {
          break;
        }
      }
      lock.lock();
      cluster.idle = progress ? 0 : cluster.idle + 1;
      const bool ended = block.alive == 0;
      if (ended) {
        --cluster.running;
        cluster.idle = 0;
      }
      if (!ended && cluster.idle >= cluster.running) {
        std::string text = grid.facts.name + ": deadlock";
        for (const Block& b : cluster.blocks)
          text += ", block " + std::to_string(b.index.x) + ": " + b.where_threads_wait();
        grid.fail(text);
      }
      if (cluster.running > 0) {
        do {
          cluster.turn = (cluster.turn + 1) % grid.cluster_size;
        } while (cluster.blocks[static_cast<size_t>(cluster.turn)].alive == 0);
      }
      cluster.changed.notify_all();
      if (ended) break;
    }
    cluster.changed.notify_all();
  }

  std::mutex launch_, mutex_;
  std::condition_variable work_, done_;
  std::deque<Worker> workers_;
  uint64_t generation_ = 0;
  int busy_ = 0;
  bool stop_ = false;
};

} // namespace

std::string run_grid(const LaunchSpec& spec) {
  static Machine machine;
  return machine.run(spec);
}

} // namespace spf::emulated

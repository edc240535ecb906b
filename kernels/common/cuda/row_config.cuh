// How kernels that keep a row in registers share it among threads.
//
//   row r:  |chunk 0|chunk 1| ... |chunk N-1|chunk N| ...            a chunk is 16 bytes
//            thread 0  1            N-1       0                      N threads a row, K chunks a thread
#pragma once

namespace spf::cuda {

// Who owns what, by the capacity of a row in chunks (0: any length). Few threads with several chunks each keep more
// bytes in flight on a multiprocessor; measured on H200, 8192 rows of 16 KB: 256 x 4 66 us, 512 x 2 71, 1024 x 1 105.
template <int kCapacity>
struct RowsConfig {
  static constexpr int kThreads = // of a row
      kCapacity == 0      ? 1024
      : kCapacity <= 16   ? 8
      : kCapacity <= 32   ? 16
      : kCapacity <= 128  ? 32
      : kCapacity <= 256  ? 128
      : kCapacity <= 1024 ? 256
      : kCapacity <= 2048 ? 512
                          : 1024;
  static constexpr int kChunks = kCapacity / kThreads; // of a thread
  static constexpr int kBlock = kThreads < 128 ? 128 : kThreads;
  static constexpr int kRows = kBlock / kThreads; // of a block
  static_assert(kThreads * kChunks == kCapacity, "a capacity is a power of two of at least 8 chunks");
};

} // namespace spf::cuda

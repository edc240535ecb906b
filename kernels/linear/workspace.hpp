// Where a kernel's prepared activations lie in the caller's workspace. Policies size it, kernels use it; one function
// serves both.
#pragma once

#include "core/cpu_packed.hpp"
#include "spearfish/device.h"

namespace spf::linear {
namespace {

// Activations as integers: per row and segment a step, and codes = round(x / step) of one or two signed bytes
// ("planes": code = 256 * high + low), their sum, and the offset that takes the constant zero point out of a dot
// product.
struct IntegerWorkspace {
  int64_t rows = 0;                                                            // prepared at a time
  int64_t pitch = 0;                                                           // bytes of one plane of one row
  int64_t codes = 0, steps = 0, sums = 0, offsets = 0, scratch = 0, bytes = 0; // byte offsets, total
  int64_t thread_scratch = 0;                                                  // bytes of each thread's part of scratch
};

// Threads for which a workspace has room, and hence that a kernel uses at most.
[[maybe_unused]] inline int workspace_threads(const spf_device_facts& facts) {
  return facts.sm_count > 0 ? facts.sm_count : 1;
}

// rows: how many rows are prepared at a time; planes: bytes per code; scratch: bytes for each thread.
[[maybe_unused]] inline IntegerWorkspace integer_workspace(const CpuPacked& p, int64_t rows, int planes,
                                                           int64_t scratch, int threads, bool tiled = false) {
  IntegerWorkspace w;
  const auto align = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  w.rows = rows;
  // Kernels may read whole 64-position steps past a segment's end (against zero weights).
  w.pitch = align(p.padded_k + 64) + 64; // + 64: rows must not all start in the same cache set
  if (tiled) w.pitch = p.segments * (p.segment_k > 64 ? 2 : 1) * 64;
  w.codes = 0;
  w.steps = align(rows * planes * w.pitch + 64);
  w.sums = w.steps + align(rows * p.segments * 4);
  w.offsets = w.sums + align(rows * p.segments * 4);
  w.scratch = w.offsets + align(rows * p.segments * 4);
  w.thread_scratch = align(scratch);
  w.bytes = w.scratch + threads * w.thread_scratch;
  return w;
}

// Activations as f32, padded and permuted as the weight's columns are.
struct FloatWorkspace {
  int64_t rows = 0;  // prepared at a time
  int64_t pitch = 0; // floats of one row
  int64_t bytes = 0;
};

[[maybe_unused]] inline FloatWorkspace float_workspace(const CpuPacked& p, int64_t m) {
  FloatWorkspace w;
  w.rows = m >= 64 ? 64 : m < 1 ? 1 : m;
  w.pitch = (p.padded_k + 15) / 16 * 16 + 16;
  w.bytes = w.rows * w.pitch * 4;
  return w;
}

// Rows that a kernel prepares at a time: as many as make the weights' second read cheap, as few as keep the workspace
// small.
[[maybe_unused]] constexpr int64_t avx512_int_rows(int64_t m) { return m >= 128 ? 128 : m < 1 ? 8 : (m + 7) / 8 * 8; }
[[maybe_unused]] constexpr int64_t avx2_int_rows(int64_t m) { return m >= 64 ? 64 : m < 1 ? 1 : m; }

// AMX: rows prepared at a time; n16 blocks and column tiles that a thread works on at a time; bytes of its scratch.
[[maybe_unused]] constexpr int64_t kAmxRows = 256, kAmxBlocks = 16, kAmxColumnTiles = 16;
[[maybe_unused]] constexpr int64_t kAmxWeightBytes = 4 * kAmxColumnTiles * 1024, kAmxDotBytes = 4 * 1024;

[[maybe_unused]] inline IntegerWorkspace amx_workspace(const CpuPacked& p, int64_t m, int planes, int threads) {
  const int64_t rows = m >= kAmxRows ? kAmxRows : m < 1 ? 16 : (m + 15) / 16 * 16;
  return integer_workspace(p, rows, planes, kAmxWeightBytes + kAmxDotBytes + rows * kAmxBlocks * 16 * 4, threads, true);
}

// Activations as one or two bf16 terms, padded and permuted as the weight's columns are.
struct Bf16Workspace {
  int64_t rows = 0; // prepared at a time
  int64_t terms = 1;
  int64_t pitch = 0; // bytes of one term of one row
  int64_t scratch = 0, thread_scratch = 0, bytes = 0;
};

[[maybe_unused]] inline Bf16Workspace bf16_workspace(const CpuPacked& p, int64_t rows, int terms, int64_t scratch,
                                                     int threads) {
  Bf16Workspace w;
  const auto align = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  w.rows = rows;
  w.terms = terms;
  w.pitch = align(2 * p.padded_k + 64) + 64;
  w.scratch = align(rows * terms * w.pitch);
  w.thread_scratch = align(scratch);
  w.bytes = w.scratch + threads * w.thread_scratch;
  return w;
}

[[maybe_unused]] inline Bf16Workspace avx512_bf16_workspace(const CpuPacked& p, int64_t m, int terms, int threads) {
  const int64_t rows = m >= 64 ? 64 : m < 1 ? 1 : m;
  return bf16_workspace(p, rows, terms, 2 * 4 * kCpuMaxSegment * 32 + rows * 2 * 64, threads);
}

// Column tiles of 32 that a thread works on at a time.
[[maybe_unused]] constexpr int64_t kAmxBf16Tiles = 32;

[[maybe_unused]] inline Bf16Workspace amx_bf16_workspace(const CpuPacked& p, int64_t m, int terms, int threads) {
  const int64_t rows = m >= kAmxRows ? kAmxRows : m < 1 ? 16 : (m + 15) / 16 * 16;
  return bf16_workspace(p, rows, terms, 2 * kAmxBf16Tiles * 1024 + 4 * 1024 + rows * kAmxBlocks * 16 * 4, threads);
}

} // namespace
} // namespace spf::linear

// One scale for each group of columns: codes of x, or of silu(gate) * up, for f32, f16, bf16.
//
//   row: | group 0 | group 1 | ...            a group of 32 to 512 columns belongs to 1 to 32 neighbouring lanes, 16 or
//          lanes 0..L-1 | L..2L-1 ...         32 columns each: chunk j of lane i is the group's chunk i + L j
//
// All loads of a group are requested at once; its largest number takes log2(L) shuffles, and its codes leave from
// registers. What a thread does once, to find its group and its scale, is as much work as ten columns: so it has as
// many as its registers hold. Groups are numbered row by row; a block takes 256 / L of them, and walks on where the
// grid is smaller than the groups: experts whose tokens are counted on the device get a few blocks each, whatever the
// padding.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/quantize/chunks.cuh"
#include "kernels/quantize/groups.h"

namespace spf::quantize {

inline constexpr int kBlock = 256;
// Blocks that must fit on a multiprocessor: 1280 threads have 40 KB or more on their way; six would spill. Addresses of
// any alignment, and gates of f32, take more registers than five leave.
template <spf_scalar_type T, bool kGated, bool kVector>
constexpr int resident_blocks() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800 // 7.5 holds no more
  return kVector && !(T == SPF_F32 && kGated) ? 4 : 3;
#else
  return kVector && !(T == SPF_F32 && kGated) ? 5 : 3;
#endif
}

// Columns of a lane: four chunks in all, of x or of gate and up.
template <spf_scalar_type T, bool kGated>
inline constexpr int kColumnsOfLane = T != SPF_F32 && !kGated ? 32 : 16;

struct GroupsArgs {
  GroupArgs groups;
  cuda::DeviceRows<3> rows;    // where kVector
  cuda::Divisor groups_of_row; // where kVector and there are two or more
  int64_t total; // groups of all rows, of those with nothing but padding too; of one expert where they are counted
  int64_t blocks_of_expert; // of all rows where nothing is counted
  int32_t lane_bits;        // log2 of the lanes of a group
};

template <spf_scalar_type T, spf_scalar_type Q, class Quotients>
__device__ __forceinline__ uint2 group_codes(const uint4& chunk, const Quotients& quotient, bool truncates) {
  float v[cuda::kChunkElements<T>];
  cuda::unpack<T>(chunk, v);
  if constexpr (Q == SPF_S8)
    if (truncates) return cuda::codes_of<Q>(v, [&](float x) { return truncf(quotient(x)); });
  return cuda::codes_of<Q>(v, quotient);
}

// kVector: every chunk of x is on 16 bytes, every chunk's codes on as many bytes as codes, and groups are few enough
// for 31 bits.
template <spf_scalar_type T, spf_scalar_type Q, bool kGated, bool kVector>
__global__ void __launch_bounds__(kBlock, (resident_blocks<T, kGated, kVector>()))
    quantize_groups(const __grid_constant__ GroupsArgs args) {
  using namespace spf::cuda;
  constexpr int kElements = kChunkElements<T>;
  constexpr int kChunks = kColumnsOfLane<T, kGated> / kElements;
  const GroupArgs& g = args.groups;
  const int lanes = 1 << args.lane_bits, slots = kBlock >> args.lane_bits;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int slot = static_cast<int>(threadIdx.x) >> args.lane_bits;

  wait_for_primary();
  launch_dependents();
  int64_t expert = 0, block = blockIdx.x, total = args.total;
  if (g.counts != nullptr) {
    expert = block / args.blocks_of_expert;
    block -= expert * args.blocks_of_expert;
    const int64_t tokens = max(0, g.counts[expert]);
    total = min(tokens, g.tokens) * g.groups;
  }

  for (int64_t base = block * slots; base < total; base += args.blocks_of_expert * slots) { // the same for all lanes
    const int64_t unit = base + slot;
    int64_t row_of_expert = unit, group = 0;
    if constexpr (kVector) {
      if (g.groups > 1) {
        const uint32_t index = static_cast<uint32_t>(unit), quotient = args.groups_of_row.quotient(index);
        row_of_expert = quotient;
        group = index - quotient * args.groups_of_row.divisor;
      }
    } else {
      row_of_expert = unit / g.groups;
      group = unit - row_of_expert * g.groups;
    }
    const int64_t row = expert * g.tokens + row_of_expert;
    const bool exists = unit < total && row < g.space.rows;
    int64_t at[3];
    if constexpr (kVector) {
#pragma unroll
      for (int n = 0; n < 3; ++n) at[n] = args.rows.offset(n, exists ? static_cast<uint32_t>(row) : 0);
    } else {
      g.space.offsets(exists ? row : 0, at);
    }
    const int64_t column = group * g.group + lane * kElements; // of chunk j: j * step further
    const int step = kElements << args.lane_bits;
    const auto* const x = static_cast<const scalar_t<T>*>(g.x) + at[0] + column;

    const auto load = [&](const scalar_t<T>* from) {
      return exists ? load_chunk<T>(from, kElements, kVector) : make_uint4(0, 0, 0, 0);
    };
    uint4 chunk[kChunks], up[kGated ? kChunks : 1];
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      chunk[j] = load(x + j * step);
      if constexpr (kGated) up[j] = load(x + g.k + j * step);
    }
    if constexpr (kGated) {
#pragma unroll
      for (int j = 0; j < kChunks; ++j) chunk[j] = gated_chunk<T>(chunk[j], up[j]);
    }
    float amax = 0;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      amax = fmaxf(amax, amax_of<T>(chunk[j]));
      stay_packed(chunk[j]);
    }
    for (int distance = lanes >> 1; distance > 0; distance >>= 1)
      amax = fmaxf(amax, __shfl_xor_sync(0xffffffffu, amax, distance));
    const float bound = g.bound != nullptr ? *g.bound : kLargest;
    float scale =
        scale_of(most(least(amax, bound), g.least_amax), kLargest, Q == SPF_E4M3 ? kFp8Max : kInt8Max, g.floor);
    if (g.powers) scale = power_of_two_above(most(scale, kLeastPower));

    if (exists) {
      float divisor = scale;
      bring_down<T>(chunk, divisor);
      const auto quotient = quotient_of<T>(divisor);
      uint8_t* const out = g.out + at[1] + column;
#pragma unroll
      for (int j = 0; j < kChunks; ++j)
        store_codes<kElements>(out + j * step, group_codes<T, Q>(chunk[j], quotient, g.truncates), kElements, kVector);
    }
    if (lane != 0 || unit >= total) continue;
    const int64_t scale_at = g.separate_rows() ? row * g.scale_row : at[2];
    if (!g.packed) {
      static_cast<float*>(g.scale)[scale_at + group * g.scale_step] = scale;
      continue;
    }
    // The last group of a row also writes what the word has beyond it.
    const int64_t end = group + 1 == g.groups ? 4 * g.words() : group + 1;
    for (int64_t i = group; i < end; ++i)
      static_cast<uint8_t*>(g.scale)[4 * (scale_at + i / 4 * g.scale_step) + i % 4] =
          i == group && exists ? exponent_of(scale) : uint8_t{0};
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T>
bool whole_chunks(const GroupArgs& g) {
  constexpr int64_t kElements = cuda::kChunkElements<T>;
  uintptr_t in = reinterpret_cast<uintptr_t>(g.x), out = reinterpret_cast<uintptr_t>(g.out);
  for (int d = 0; d < g.space.dims; ++d) {
    in |= static_cast<uintptr_t>(g.space.stride[0][d] * (16 / kElements));
    out |= static_cast<uintptr_t>(g.space.stride[1][d]);
  }
  return in % 16 == 0 && out % kElements == 0; // groups are whole chunks
}

// kGated: x holds gate and up.
template <bool kGated, spf_scalar_type T>
spf_status launch_groups(const Call& call, const LaunchContext& ctx) {
  const char* const op = call.problem.op->name;
  const GroupArgs g = group_args(call);
  const int64_t rows = g.separate_rows() ? g.padded_rows : g.space.rows;
  if (rows == 0 || g.groups == 0) return SPF_OK;
  const int lanes = static_cast<int>(g.group / kColumnsOfLane<T, kGated>);
  const int64_t experts = g.counts != nullptr ? rows / g.tokens : 1;
  const int64_t total = rows / experts * g.groups, slots = kBlock / lanes;
  int64_t blocks = (total + slots - 1) / slots;
  // Enough blocks for every multiprocessor if one expert has most of the tokens.
  if (g.counts != nullptr) blocks = std::min<int64_t>(blocks, std::max(1, ctx.facts->sm_count) * 4);
  blocks = std::min<int64_t>(blocks, ((int64_t{1} << 31) - 1) / experts);
  const GroupsArgs args{g,
                        cuda::DeviceRows<3>(g.space),
                        cuda::Divisor(std::max<int64_t>(g.groups, 2)),
                        total,
                        blocks,
                        std::countr_zero(static_cast<unsigned>(lanes))};
  const bool vector =
      whole_chunks<T>(g) && cuda::DeviceRows<3>::fits(g.space) && total + slots < (int64_t{1} << 31) - 1;
  const auto with = [&](auto kernel) { return cuda::launch(op, ctx, kernel, blocks * experts, kBlock, 0, args); };
  if (g.code == SPF_E4M3)
    return vector ? with(quantize_groups<T, SPF_E4M3, kGated, true>)
                  : with(quantize_groups<T, SPF_E4M3, kGated, false>);
  return vector ? with(quantize_groups<T, SPF_S8, kGated, true>) : with(quantize_groups<T, SPF_S8, kGated, false>);
}

} // namespace spf::quantize

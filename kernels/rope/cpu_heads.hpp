// Rope on the CPU, token by token: the token's cosines and sines are widened once and serve all its heads. Included by
// one source per instruction set; see kernels/common/simd/lanes.hpp for why everything is internal.
#pragma once

#include "kernels/common/simd/elements.hpp"
#include "kernels/common/simd/fp8.hpp"
#include "kernels/rope/cache.h"

namespace spf::rope {
namespace {

inline constexpr int64_t kMostPairs = kCpuRotary / 2; // cosines kept on the stack

template <spf_scalar_type T, int kLanes>
struct CpuHeads : simd::Elements<T, kLanes> {
  using Base = simd::Elements<T, kLanes>;
  using Base::each;
  using Base::kBytes;
  using Base::read;
  using Base::write;
  using typename Base::F;
  using typename Base::L;

  static F table(const RopeArgs& args, int64_t i, int64_t n) {
    const char* const data = static_cast<const char*>(args.cos_sin);
    if (args.table_type == SPF_F32) return L::template load<SPF_F32>(data + i * 4, n);
    if (args.table_type == SPF_F16) return L::template load<SPF_F16>(data + i * 2, n);
    return L::template load<SPF_BF16>(data + i * 2, n);
  }

  struct Turn {
    float cosine[kMostPairs + kLanes], sine[kMostPairs + kLanes];
  };

  static void turn_of(const RopeArgs& args, int64_t position, Turn* turn) {
    const int64_t row = position * args.rotary;
    each(args.rotary / 2, [&](int64_t i, int64_t n) {
      const F c = table(args, row + i, n), s = table(args, row + args.rotary / 2 + i, n);
      std::memcpy(turn->cosine + i, &c, sizeof(c));
      std::memcpy(turn->sine + i, &s, sizeof(s));
    });
  }

  static F lanes(const float* from) {
    F v;
    std::memcpy(&v, from, sizeof(v));
    return v;
  }

  // The pairs of a head, their values through norm(first element, how many, values) on the way in.
  template <class Norm>
  static void rotate(const RopeArgs& args, char* x, const Turn& turn, Norm&& norm) {
    const int64_t half = args.rotary / 2;
    if (!args.interleaved) {
      each(half, [&](int64_t i, int64_t n) {
        const F a = norm(i, n, read(x, i, n)), b = norm(half + i, n, read(x, half + i, n));
        const F c = lanes(turn.cosine + i), s = lanes(turn.sine + i);
        write(x, i, a * c - b * s, n);
        write(x, half + i, b * c + a * s, n);
      });
      return;
    }
    each(half, [&](int64_t i, int64_t n) {
      const int64_t at = 2 * i, low = n < kLanes / 2 ? n : kLanes / 2;
      float both[2 * kLanes] = {};
      const F v0 = norm(at, 2 * low, read(x, at, 2 * low));
      std::memcpy(both, &v0, sizeof(v0));
      if (n > low) {
        const F v1 = norm(at + kLanes, 2 * (n - low), read(x, at + kLanes, 2 * (n - low)));
        std::memcpy(both + kLanes, &v1, sizeof(v1));
      }
      float turned[2 * kLanes];
      for (int j = 0; j < kLanes; ++j) {
        const float a = both[2 * j], b = both[2 * j + 1], c = turn.cosine[i + j], s = turn.sine[i + j];
        turned[2 * j] = a * c - b * s;
        turned[2 * j + 1] = b * c + a * s;
      }
      write(x, at, lanes(turned), 2 * low);
      if (n > low) write(x, at + kLanes, lanes(turned + kLanes), 2 * (n - low));
    });
  }

  // 1 / sqrt(mean(x^2) + epsilon), summed in two vectors of lanes: a head's bits depend on the head only.
  static float norm_scale(const RopeArgs& args, const char* x) {
    F sums[2] = {};
    int which = 0;
    each(args.size, [&](int64_t i, int64_t n) {
      const F v = read(x, i, n);
      sums[which] += v * v;
      which ^= 1;
    });
    return 1.0f / __builtin_sqrtf(L::sum(sums[0] + sums[1]) / static_cast<float>(args.size) + args.epsilon);
  }

  static void head(const RopeArgs& args, const Heads& heads, char* x, const Turn& turn) {
    if (!args.norm) return rotate(args, x, turn, [](int64_t, int64_t, F v) { return v; });
    const float scale = norm_scale(args, x), plus = args.weight_plus_one ? 1.0f : 0.0f;
    const auto normed = [&](int64_t e, int64_t n, F v) {
      const F w = read(static_cast<const char*>(heads.weight), e, n);
      return v * scale * (plus + w);
    };
    rotate(args, x, turn, normed);
    for (int64_t e = args.rotary; e < args.size; e += kLanes) {
      const int64_t n = args.size - e < kLanes ? args.size - e : kLanes;
      write(x, e, normed(e, n, read(x, e, n)), n);
    }
  }

  static void token(const RopeArgs& args, int64_t index) {
    int64_t at[3];
    args.space.offsets(index, at);
    const int64_t position = args.position_type == SPF_I32 ? static_cast<const int32_t*>(args.positions)[at[0]]
                                                           : static_cast<const int64_t*>(args.positions)[at[0]];
    if (position < 0 || position >= args.table_rows) return;
    Turn turn;
    turn_of(args, position, &turn);
    for (int run = 0; run < 2; ++run)
      for (int64_t h = 0; h < args.heads[run].count; ++h)
        head(args, args.heads[run], static_cast<char*>(args.heads[run].data) + args.head_offset(run, h, at) * kBytes,
             turn);
  }

  // The numbers of a head into a slot, as they are or as codes.
  static void cache_head(const CacheArgs& args, int s, const char* x, int64_t place, float scale) {
    if (args.type == SPF_E4M3 || args.type == SPF_E5M2) {
      uint8_t* const to = static_cast<uint8_t*>(args.side[s].data) + place;
      each(args.rope.size, [&](int64_t i, int64_t n) {
        const F v = read(x, i, n) / scale;
        L::store_bytes(to + i,
                       args.type == SPF_E4M3 ? simd::Fp8Lanes<SPF_E4M3, kLanes>::encode(v)
                                             : simd::Fp8Lanes<SPF_E5M2, kLanes>::encode(v),
                       n);
      });
    } else {
      std::memcpy(static_cast<char*>(args.side[s].data) + place * kBytes, x,
                  static_cast<size_t>(args.rope.size * kBytes));
    }
  }

  static void cache_token(const CacheArgs& args, int64_t index) {
    token(args.rope, index);
    const int64_t slot = args.slot_of(index);
    if (slot < 0) return;
    int64_t at[3];
    args.rope.space.offsets(index, at);
    for (int64_t h = 0; h < args.cached_heads(); ++h) {
      const char* const key =
          static_cast<const char*>(args.rope.heads[1].data) + args.rope.head_offset(1, h, at) * kBytes;
      const char* const value =
          static_cast<const char*>(args.value) + (index * args.value_token + h * args.value_head) * kBytes;
      cache_head(args, 0, key, args.place(0, slot, h), args.scale_of(0, h));
      cache_head(args, 1, value, args.place(1, slot, h), args.scale_of(1, h));
    }
  }

  static void run(const CacheArgs& args, int threads) {
    const int64_t tokens = args.rope.space.rows;
    const bool worth = tokens > 1 && tokens * args.all_heads() * args.rope.size > 32768;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
    for (int64_t t = 0; t < tokens; ++t) cache_token(args, t);
  }

  static void run(const RopeArgs& args, int threads) {
    const int64_t tokens = args.space.rows;
    const bool worth = tokens > 1 && tokens * args.all_heads() * args.size > 32768;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
    for (int64_t t = 0; t < tokens; ++t) token(args, t);
  }
};

template <int kLanes, class Args>
spf_status cpu_run(const Call& call, const Args& args, const LaunchContext& ctx) {
  switch (call.problem.type("T")) {
    case SPF_F32:
      CpuHeads<SPF_F32, kLanes>::run(args, ctx.threads);
      return SPF_OK;
    case SPF_F16:
      CpuHeads<SPF_F16, kLanes>::run(args, ctx.threads);
      return SPF_OK;
    case SPF_BF16:
      CpuHeads<SPF_BF16, kLanes>::run(args, ctx.threads);
      return SPF_OK;
    default:
      return SPF_INVALID_TYPE;
  }
}

template <int kLanes>
spf_status cpu_rope(const Call& call, const LaunchContext& ctx) {
  const RopeArgs args = rope_args(call);
  return args.empty() ? SPF_OK : cpu_run<kLanes>(call, args, ctx);
}

template <int kLanes>
spf_status cpu_cache(const Call& call, const LaunchContext& ctx) {
  const CacheArgs args = cache_args(call);
  return args.rope.size == 0 ? SPF_OK : cpu_run<kLanes>(call, args, ctx);
}

} // namespace
} // namespace spf::rope

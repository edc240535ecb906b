// One product with its end by CUTLASS's collective builders for tcgen05: blocks of two multiprocessors or of one,
// copies by TMA in and out, persistent, tiles handed out by the hardware. The epilogue is a tree of CUTLASS's own
// nodes.
//
// Built only: there was no such device to run it on.
#pragma once

#include "cute/tensor.hpp"
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/epilogue/fusion/operations.hpp"
#include "cutlass/epilogue/fusion/sm90_visitor_load_tma_warpspecialized.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "kernels/linear/cutlass_ends.cuh"

namespace spf::linear {

// What the builders make for K-major operands whose rows start on kAlign elements, tiles in clusters, sums of type
// Total and an epilogue End that computes in Compute.
template <class OpClass, class Operand, int kAlign, class Tile, class Cluster, class Total, class Compute, class Out,
          class End>
struct CutlassBuilt {
  static constexpr int kAlignOut = 128 / cutlass::sizeof_bits<Out>::value;
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm100, OpClass, Tile, Cluster, cutlass::epilogue::collective::EpilogueTileAuto, Total, Compute,
      void, cutlass::layout::RowMajor, kAlignOut, Out, cutlass::layout::RowMajor, kAlignOut,
      cutlass::epilogue::collective::EpilogueScheduleAuto, End>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm100, OpClass, Operand, cutlass::layout::RowMajor, kAlign, Operand, cutlass::layout::ColumnMajor,
      kAlign, Total, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Epilogue::SharedStorage))>,
      cutlass::gemm::collective::KernelScheduleAuto>::CollectiveOp;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, Mainloop, Epilogue, void>;
};

template <spf_scalar_type X, spf_scalar_type kEnd, int kTile>
struct CutlassConfig {
  static constexpr bool kSums = kEnd == SPF_F32;
  using Element = cute::conditional_t<X == SPF_S8, int8_t, cutlass::float_e4m3_t>;
  using Total = cute::conditional_t<X == SPF_S8, int32_t, float>;
  using Out = cute::conditional_t<kSums, Total, cutlass::bfloat16_t>;
  static constexpr bool kPair = kTile == 256; // two multiprocessors share a tile
  using Tile = cute::conditional_t<kPair, cute::Shape<cute::_256, cute::_128, cute::_128>,
                                   cute::Shape<cute::_64, cute::_64, cute::_128>>;
  using BlockTile = cute::conditional_t<kPair, cute::Shape<cute::_128, cute::_128, cute::_128>, Tile>;
  using Cluster = cute::Shape<cute::Int<kPair ? 2 : 1>, cute::_1, cute::_1>;

  static constexpr auto kRound = cutlass::FloatRoundStyle::round_to_nearest;
  // A stride of false is one scale for all tokens.
  using Tokens =
      cutlass::epilogue::fusion::Sm90ColBroadcast<0, BlockTile, float, float, cute::Stride<bool, cute::_0, cute::_0>>;
  using Channels = cutlass::epilogue::fusion::Sm90RowBroadcast<0, BlockTile, float>;
  using Scaled = cutlass::epilogue::fusion::Sm90EVT<
      cutlass::epilogue::fusion::Sm90Compute<cutlass::multiplies, float, float, kRound>, Channels,
      cutlass::epilogue::fusion::Sm90AccFetch>;
  using Ended = cutlass::epilogue::fusion::Sm90EVT<
      cutlass::epilogue::fusion::Sm90Compute<cutlass::homogeneous_multiply_add, Out, float, kRound>, Tokens, Scaled,
      Channels>;
  using Unscaled = cutlass::epilogue::fusion::LinearCombination<Total, Total, void, Total, kRound>;

  using Kernel = typename CutlassBuilt<cutlass::arch::OpClassTensorOp, Element, 16, Tile, Cluster, Total,
                                       cute::conditional_t<kSums, Total, float>, Out,
                                       cute::conditional_t<kSums, Unscaled, Ended>>::Kernel;
};

// The arguments of a product but those of its epilogue tree. mainloop: operands and their strides.
template <class C, class Gemm>
typename C::Kernel::Arguments cutlass_arguments(const Gemm& g, const typename C::Kernel::MainloopArguments& mainloop) {
  return {
      cutlass::gemm::GemmUniversalMode::kGemm,
      {g.m, g.n, g.k, 1},
      mainloop,
      {{}, nullptr, {g.out_pitch, cute::_1{}, 0}, static_cast<typename C::Out*>(g.out), {g.out_pitch, cute::_1{}, 0}}};
}

// Launches a CUTLASS kernel whose arguments are complete; it needs no workspace of its own.
template <class Kernel>
spf_status run_cutlass(const char* op, const LaunchContext& ctx, typename Kernel::Arguments args) {
  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
  const auto failed = [&](const char* what, cutlass::Status status) {
    cudaGetLastError(); // a failed launch must not be found by the caller's next check
    return fail(SPF_DEVICE_ERROR, op, "launch", what, cutlass::cutlassGetStatusString(status), "success");
  };
  args.hw_info.sm_count = ctx.facts->sm_count;
  if (const auto s = Gemm::can_implement(args); s != cutlass::Status::kSuccess) return failed("can_implement", s);
  if (Gemm::get_workspace_size(args) != 0) return failed("workspace", cutlass::Status::kErrorWorkspaceNull);
  Gemm gemm;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  if (const auto s = gemm.initialize(args, nullptr, stream); s != cutlass::Status::kSuccess)
    return failed("initialize", s);
  // Not as a dependent launch: its epilogue reads scales without waiting for the kernel before.
  if (const auto s = gemm.run(stream); s != cutlass::Status::kSuccess) return failed("run", s);
  return SPF_OK;
}

// x is the M operand and the weight the N operand, both K-major as they lie.
template <spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_gemm(const LaunchContext& ctx, const CutlassGemm& g) {
  using C = CutlassConfig<X, kEnd, kTile>;
  auto args = cutlass_arguments<C>(g, {static_cast<const typename C::Element*>(g.x),
                                       {g.x_pitch, cute::_1{}, 0},
                                       static_cast<const typename C::Element*>(g.weights),
                                       {g.k, cute::_1{}, 0}});
  if constexpr (C::kSums) {
    args.epilogue.thread.alpha = 1;
    args.epilogue.thread.beta = 0;
  } else {
    args.epilogue.thread = {{g.tokens, 0.0f, {!g.one_token_scale, cute::_0{}, cute::_0{}}},
                            {{g.channels, 0.0f, {}}, {}, {}},
                            {g.bias, 0.0f, {}},
                            {}};
  }
  return run_cutlass<typename C::Kernel>("scaled_linear", ctx, args);
}

} // namespace spf::linear

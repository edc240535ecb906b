// One product of block-scaled operands with its end by CUTLASS's collective builders for tcgen05. The multiprocessors'
// tensor memory takes the scales as they lie: tiles of 128 rows x 4 blocks.
//
// Built only: there was no such device to run it on.
#pragma once

#include "kernels/linear/cutlass_gemm.cuh"

namespace spf::linear {

// What CUTLASS calls codes of a type with scales of a format.
template <BlockLinear kOp, spf_scalar_type kCode>
struct CutlassBlocks;
template <>
struct CutlassBlocks<BlockLinear::kNvfp4, SPF_E2M1> {
  using Type = cutlass::nv_float4_t<cutlass::float_e2m1_t>;
};
template <>
struct CutlassBlocks<BlockLinear::kMxfp4, SPF_E2M1> {
  using Type = cutlass::mx_float4_t<cutlass::float_e2m1_t>;
};
template <>
struct CutlassBlocks<BlockLinear::kMxfp8, SPF_E4M3> {
  using Type = cutlass::mx_float8_t<cutlass::float_e4m3_t>;
};

template <BlockLinear kOp, spf_scalar_type X, spf_scalar_type kEnd, int kTile>
struct CutlassBlockConfig {
  using Pair = typename CutlassBlocks<kOp, X>::Type;
  using Element = typename Pair::DataType;
  using Scale = typename Pair::ScaleFactorType;
  using Out = cute::conditional_t<kEnd == SPF_F32, float, cutlass::bfloat16_t>;
  static constexpr bool kPair = kTile == 256; // two multiprocessors share a tile
  static constexpr int kDepth = X == SPF_E2M1 ? 256 : 128;
  using Tile = cute::Shape<cute::Int<kTile>, cute::_128, cute::Int<kDepth>>;
  using BlockTile = cute::Shape<cute::_128, cute::_128, cute::Int<kDepth>>;
  using Cluster = cute::Shape<cute::Int<kPair ? 2 : 1>, cute::_1, cute::_1>;

  static constexpr auto kRound = cutlass::FloatRoundStyle::round_to_nearest;
  using Factor = cutlass::epilogue::fusion::Sm90ScalarBroadcast<float, cute::Stride<cute::_0, cute::_0, cute::_0>, 2,
                                                                cutlass::multiplies>; // alpha and the global scale
  using Bias = cutlass::epilogue::fusion::Sm90RowBroadcast<0, BlockTile, float>;
  using Ended = cutlass::epilogue::fusion::Sm90EVT<
      cutlass::epilogue::fusion::Sm90Compute<cutlass::homogeneous_multiply_add, Out, float, kRound>, Factor,
      cutlass::epilogue::fusion::Sm90AccFetch, Bias>;

  static constexpr int kAlign = 128 / cutlass::sizeof_bits<Element>::value;
  using Built =
      CutlassBuilt<cutlass::arch::OpClassBlockScaledTensorOp, Pair, kAlign, Tile, Cluster, float, float, Out, Ended>;
  using Mainloop = typename Built::Mainloop;
  using Kernel = typename Built::Kernel;
};

// Whether CUTLASS reads the scale of a row and a block where the quantizers and the layout "block_rows" put it.
template <class Scales, int kBlock>
constexpr bool scales_lie_as_packed(int rows, int k) {
  const auto shape = cute::make_shape(rows, rows, k, 1);
  const auto x = Scales::tile_atom_to_shape_SFA(shape), weight = Scales::tile_atom_to_shape_SFB(shape);
  const int64_t tiles = scale_tiles(k / kBlock);
  for (int row = 0; row < rows; row += 13)
    for (int block = 0; block * kBlock < k; ++block) {
      const int64_t place = tiled_scale_place(row, block, tiles);
      if (x(row, block * kBlock, 0) != place || weight(row, block * kBlock + kBlock - 1, 0) != place) return false;
    }
  return true;
}

template <BlockLinear kOp, spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_block_gemm(const char* op, const LaunchContext& ctx, const CutlassBlockGemm& g) {
  using C = CutlassBlockConfig<kOp, X, kEnd, kTile>;
  using Scales = typename C::Mainloop::Sm1xxBlkScaledConfig;
  constexpr int kBlock = static_cast<int>(block_of(kOp));
  static_assert(scales_lie_as_packed<Scales, kBlock>(290, 13 * kBlock));
  const auto shape = cute::make_shape(g.m, g.n, g.k, 1);
  auto args = cutlass_arguments<C>(g, {static_cast<const typename C::Element*>(g.x),
                                       {g.x_pitch, cute::_1{}, 0},
                                       static_cast<const typename C::Element*>(g.weights),
                                       {g.weights_pitch, cute::_1{}, 0},
                                       static_cast<const typename C::Scale*>(g.x_scales),
                                       Scales::tile_atom_to_shape_SFA(shape),
                                       static_cast<const typename C::Scale*>(g.scales),
                                       Scales::tile_atom_to_shape_SFB(shape)});
  args.epilogue.thread = {{{1.0f, 1.0f}, {g.alpha, g.global}, {}}, {}, {g.bias, 0.0f, {}}, {}};
  return run_cutlass<typename C::Kernel>(op, ctx, args);
}

} // namespace spf::linear

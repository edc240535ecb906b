// The order of scales in the Marlin layouts.
#pragma once

namespace spf::cuda {

// Where column n lies in a row of scales that has one scale a column: blocks of 32.
__device__ __forceinline__ int column_scale_place(int n) {
  return n / 32 * 32 + n % 8 / 2 * 8 + n % 32 / 8 * 2 + n % 2;
}

} // namespace spf::cuda

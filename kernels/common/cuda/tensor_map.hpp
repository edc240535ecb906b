// Descriptions of tensors for the copy engine. The driver's encoder is looked up at run time: nothing links libcuda.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include "core/status.hpp"

namespace spf::cuda {

// A row-major matrix whose rows start `row_bytes` apart, fetched in boxes of box_columns x box_rows elements.
struct Matrix {
  const void* data = nullptr; // on 16 bytes
  CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  int64_t columns = 0, rows = 0;
  int64_t row_bytes = 0; // a multiple of 16
  int box_columns = 0, box_rows = 0;
  bool swizzled = false; // 128 bytes; a row of a box is then 128 bytes long
};

inline spf_status encode(const char* op, const Matrix& m, CUtensorMap* map) {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found) !=
            cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
      function = nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  if (encoder == nullptr)
    return fail(SPF_DEVICE_ERROR, op, "launch", "cuTensorMapEncodeTiled", "not in this driver", "a driver for CUDA 12");
  const cuuint64_t extents[2] = {static_cast<cuuint64_t>(m.columns), static_cast<cuuint64_t>(m.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(m.row_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(m.box_columns), static_cast<cuuint32_t>(m.box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      encoder(map, m.type, 2, const_cast<void*>(m.data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
              m.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
              CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return SPF_OK;
  return fail(SPF_DEVICE_ERROR, op, "launch", "cuTensorMapEncodeTiled", "refused the tensor", "CUDA_SUCCESS",
              static_cast<int32_t>(result));
}

} // namespace spf::cuda

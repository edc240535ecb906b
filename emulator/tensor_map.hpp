// Tiled tensor maps of the emulated device, and the copies that they describe.
#pragma once

#include <cstdint>

#include <cuda.h>

namespace spf::emulated {

// cuTensorMapEncodeTiled; refuses what the driver refuses.
CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                           const cuuint64_t* extents, const cuuint64_t* strides, const cuuint32_t* box,
                           const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                           CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill);

// cp.async.bulk.tensor to shared memory: the box at `coordinates` (innermost first), and its bytes counted on the
// barrier of each block in `ranks` (bit r: block r of the cluster; 0: the place that `to` and `barrier` name).
void copy_tensor_tile(uint32_t to, const CUtensorMap& map, const int* coordinates, int rank, uint32_t barrier,
                      uint32_t ranks = 0);
// cp.async.bulk.tensor from shared to global memory, of the thread's bulk group.
void store_tensor_tile(const CUtensorMap& map, const int* coordinates, int rank, uint32_t from);

} // namespace spf::emulated

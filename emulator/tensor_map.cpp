#include "emulator/tensor_map.hpp"

#include <array>
#include <cstring>
#include <string>

#include "emulator/machine.hpp"

namespace spf::emulated {
namespace {

constexpr uint32_t kMagic = 0x7e4502a9;

// What the 128 bytes of a CUtensorMap hold here.
struct TiledMap {
  uint32_t magic;
  uint8_t rank, element_bytes, swizzle, nan_fill;
  char* data;
  uint64_t extents[5];
  uint64_t strides[4]; // bytes, of dimensions 1 and up
  uint16_t box[5];
  uint8_t steps[5];
};
static_assert(sizeof(TiledMap) <= sizeof(CUtensorMap));

int element_bytes(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
      return 4;
    default: // packed types with an alignment of their own
      return 0;
  }
}

TiledMap read(const CUtensorMap& map) {
  TiledMap m;
  std::memcpy(&m, &map, sizeof m);
  if (m.magic != kMagic) fault("a tensor copy by a map that was never encoded");
  return m;
}

// Where byte `at` of a box in shared memory lies: chunks of 16 bytes change places with their neighbours by the
// 128-byte line they are in.
uint32_t swizzled(uint32_t address, uint8_t swizzle) {
  const uint32_t chunks = swizzle == CU_TENSOR_MAP_SWIZZLE_128B  ? 0x70
                          : swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 0x30
                          : swizzle == CU_TENSOR_MAP_SWIZZLE_32B ? 0x10
                                                                 : 0;
  return address ^ ((address >> 3) & chunks);
}

uint32_t box_bytes(const TiledMap& m) {
  uint32_t bytes = m.element_bytes;
  for (int d = 0; d < m.rank; ++d) bytes *= m.box[d];
  return bytes;
}

// Calls body(offset in the box, place in the tensor or nullptr outside it, bytes) for each 16 bytes that lie together
// in the tensor, and for single elements elsewhere.
template <class F>
void each_piece(const TiledMap& m, const std::array<int, 5>& first, F&& body) {
  const uint32_t row_bytes = m.box[0] * m.element_bytes;
  uint32_t rows = 1;
  for (int d = 1; d < m.rank; ++d) rows *= m.box[d];
  for (uint32_t row = 0; row < rows; ++row) {
    uint32_t rest = row;
    int64_t offset = 0;
    bool inside = true;
    for (int d = 1; d < m.rank; ++d) {
      const int64_t c = int64_t{first[static_cast<size_t>(d)]} + int64_t{rest % m.box[d]} * m.steps[d];
      rest /= m.box[d];
      inside = inside && c >= 0 && c < static_cast<int64_t>(m.extents[d]);
      offset += c * static_cast<int64_t>(m.strides[d - 1]);
    }
    const uint32_t together = m.steps[0] == 1 ? 16u / m.element_bytes : 1;
    for (uint32_t e = 0; e < m.box[0];) {
      const int64_t c = int64_t{first[0]} + int64_t{e} * m.steps[0];
      const auto holds = [&](int64_t column) {
        return inside && column >= 0 && column < static_cast<int64_t>(m.extents[0]);
      };
      const uint32_t count = e % together == 0 && holds(c) && holds(c + together - 1) ? together : 1;
      body(row * row_bytes + e * m.element_bytes, holds(c) ? m.data + offset + c * m.element_bytes : nullptr,
           count * m.element_bytes);
      e += count;
    }
  }
}

void check_copy(const TiledMap& m, uint32_t shared, int rank) {
  if (m.rank != rank)
    fault("a tensor copy of " + std::to_string(rank) + " dimensions by a map of " + std::to_string(m.rank));
  if (shared % 128 != 0) fault("a tensor copy to or from a shared address that is not a multiple of 128");
}

} // namespace

CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                           const cuuint64_t* extents, const cuuint64_t* strides, const cuuint32_t* box,
                           const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  const int bytes = element_bytes(type);
  if (bytes == 0 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
    return CUDA_ERROR_NOT_SUPPORTED;
  if (map == nullptr || rank == 0 || rank > 5 || reinterpret_cast<uintptr_t>(data) % 16 != 0 || data == nullptr)
    return CUDA_ERROR_INVALID_VALUE;
  TiledMap m = {};
  m.magic = kMagic;
  m.rank = static_cast<uint8_t>(rank);
  m.element_bytes = static_cast<uint8_t>(bytes);
  m.swizzle = static_cast<uint8_t>(swizzle);
  m.nan_fill = fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
  m.data = static_cast<char*>(data);
  for (cuuint32_t d = 0; d < rank; ++d) {
    if (extents[d] == 0 || extents[d] > uint64_t{1} << 32 || box[d] == 0 || box[d] > 256 || steps[d] == 0 ||
        steps[d] > 8)
      return CUDA_ERROR_INVALID_VALUE;
    if (d > 0 && (strides[d - 1] % 16 != 0 || strides[d - 1] >= uint64_t{1} << 40)) return CUDA_ERROR_INVALID_VALUE;
    m.extents[d] = extents[d];
    if (d > 0) m.strides[d - 1] = strides[d - 1];
    m.box[d] = static_cast<uint16_t>(box[d]);
    m.steps[d] = static_cast<uint8_t>(steps[d]);
  }
  const uint32_t inner = box[0] * static_cast<uint32_t>(bytes);
  const uint32_t widest = swizzle == CU_TENSOR_MAP_SWIZZLE_32B    ? 32
                          : swizzle == CU_TENSOR_MAP_SWIZZLE_64B  ? 64
                          : swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 128
                                                                  : 0xffffffffu;
  if (inner % 16 != 0 || inner > widest) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &m, sizeof m);
  return CUDA_SUCCESS;
}

void copy_tensor_tile(uint32_t to, const CUtensorMap& map, const int* coordinates, int rank, uint32_t barrier,
                      uint32_t ranks) {
  const TiledMap m = read(map);
  check_copy(m, to, rank);
  std::array<int, 5> first = {};
  std::copy(coordinates, coordinates + rank, first.begin());
  for (uint32_t r = 0; r < 16; ++r) {
    if (ranks == 0 ? r > 0 : (ranks >> r & 1) == 0) continue;
    const uint32_t place = ranks == 0 ? absolute_address(to) : shared_address_in(to, r);
    const uint32_t counted = ranks == 0 ? absolute_address(barrier) : shared_address_in(barrier, r);
    copy_engine(place, [=] {
      each_piece(m, first, [&](uint32_t at, const char* from, uint32_t bytes) {
        std::byte* const piece = shared_memory(swizzled(place + at, m.swizzle), bytes, bytes);
        if (from != nullptr)
          std::memcpy(piece, from, bytes);
        else
          std::memset(piece, 0, bytes);
      });
      mbarrier_complete(counted, box_bytes(m));
    });
  }
}

void store_tensor_tile(const CUtensorMap& map, const int* coordinates, int rank, uint32_t from) {
  TiledMap m = read(map);
  check_copy(m, from, rank);
  // Whole pieces of 16 bytes are written, also where a row ends within one (seen on H200).
  const uint64_t piece = 16u / m.element_bytes;
  m.extents[0] = (m.extents[0] + piece - 1) / piece * piece;
  std::array<int, 5> first = {};
  std::copy(coordinates, coordinates + rank, first.begin());
  current->bulk_stores.add([=] {
    each_piece(m, first, [&](uint32_t at, char* to, uint32_t bytes) {
      if (to != nullptr) std::memcpy(to, shared_memory(swizzled(from + at, m.swizzle), bytes, bytes), bytes);
    });
  });
}

} // namespace spf::emulated

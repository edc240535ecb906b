// spearfish/tensor.h: views, extents, DLPack.
#include <cstring>

#include <dlpack/dlpack.h>

#include "support.hpp"

namespace spf::test {
namespace {

void expect_error(const char* op, const std::string& field, const std::string& allowed) {
  const spf_error_detail e = last_error();
  EXPECT_STREQ(e.op, op);
  EXPECT_EQ(e.field, field);
  EXPECT_NE(std::string(e.allowed).find(allowed), std::string::npos) << e.allowed;
}

TEST(TensorInit, ContiguousStrides) {
  float data[24] = {};
  const spf_tensor t = tensor(data, SPF_F32, {2, 3, 4});
  EXPECT_EQ(t.struct_size, sizeof(spf_tensor));
  EXPECT_EQ(t.rank, 3);
  EXPECT_EQ(t.data, data);
  EXPECT_EQ(t.packing, SPF_PACKING_NONE);
  EXPECT_EQ(std::vector<int64_t>(t.stride, t.stride + 3), (std::vector<int64_t>{12, 4, 1}));
  const spf_tensor empty = tensor(nullptr, SPF_F32, {2, 0, 4});
  EXPECT_EQ(std::vector<int64_t>(empty.stride, empty.stride + 3), (std::vector<int64_t>{4, 4, 1}));
}

TEST(TensorInit, RankZeroNeedsNoShape) {
  spf_tensor t;
  float value = 0;
  ASSERT_EQ(spf_tensor_init(&t, &value, SPF_F32, 0, nullptr, kCpu), SPF_OK);
  EXPECT_EQ(t.rank, 0);
  int64_t bytes = 0;
  ASSERT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_OK);
  EXPECT_EQ(bytes, 4);
}

TEST(TensorInit, Refusals) {
  spf_tensor t;
  const int64_t shape[7] = {1, 1, 1, 1, 1, 1, 1};
  EXPECT_EQ(spf_tensor_init(nullptr, nullptr, SPF_F32, 1, shape, kCpu), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_TYPE_NONE, 1, shape, kCpu), SPF_INVALID_TYPE);
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_TYPE_COUNT, 1, shape, kCpu), SPF_INVALID_TYPE);
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_F32, 7, shape, kCpu), SPF_INVALID_SHAPE);
  expect_error("tensor_init", "rank", "0 to 6");
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_F32, -1, shape, kCpu), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_F32, 1, nullptr, kCpu), SPF_INVALID_ARGUMENT);
  const int64_t negative[] = {3, -2};
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_F32, 2, negative, kCpu), SPF_INVALID_SHAPE);
  expect_error("tensor_init", "shape[1]", "0 or more");
  const int64_t huge[] = {int64_t{1} << 32, int64_t{1} << 32, 0};
  EXPECT_EQ(spf_tensor_init(&t, nullptr, SPF_F32, 3, huge, kCpu), SPF_INVALID_SHAPE);
  expect_error("tensor_init", "shape", "2^63");
}

TEST(ExtentBytes, OfStridedPackedAndEmptyViews) {
  int64_t bytes = -1;
  const auto extent = [&](const spf_tensor& t) {
    EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_OK);
    return bytes;
  };
  EXPECT_EQ(extent(tensor(nullptr, SPF_F32, {2, 3})), 24);
  EXPECT_EQ(extent(strided(nullptr, SPF_BF16, {2, 3}, {100, 1})), (100 + 2 + 1) * 2);
  EXPECT_EQ(extent(strided(nullptr, SPF_I64, {4, 5}, {0, 1})), 40);
  EXPECT_EQ(extent(tensor(nullptr, SPF_F32, {2, 0})), 0);
  EXPECT_EQ(extent(tensor(nullptr, SPF_U4, {2, 8})), 16);
  for (int64_t n : {1, 2, 3, 8, 9}) {
    spf_tensor packed = tensor(nullptr, SPF_U4, {n});
    packed.packing = SPF_PACKING_LOW_FIRST;
    EXPECT_EQ(extent(packed), (n + 1) / 2) << n;
  }
  EXPECT_EQ(extent(strided(nullptr, SPF_F32, {2, 2}, {int64_t{1} << 33, 1})), ((int64_t{1} << 33) + 2) * 4);
}

TEST(ExtentBytes, Refusals) {
  int64_t bytes = 0;
  spf_tensor t = tensor(nullptr, SPF_F32, {2, 3});
  EXPECT_EQ(spf_tensor_extent_bytes(nullptr, &bytes), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_tensor_extent_bytes(&t, nullptr), SPF_INVALID_ARGUMENT);
  t.struct_size = 4;
  EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_ABI_MISMATCH);
  t = tensor(nullptr, SPF_F32, {2, 3});
  t.rank = 9;
  EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_INVALID_SHAPE);
  t = strided(nullptr, SPF_F32, {2, 3}, {-3, 1});
  EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_INVALID_STRIDE);
  expect_error("tensor_extent_bytes", "stride[0]", "0 or more");
  t = strided(nullptr, SPF_F32, {3, 3}, {int64_t{1} << 62, 1});
  EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_INVALID_STRIDE);
  t = strided(nullptr, SPF_I64, {2, 3}, {int64_t{1} << 61, 1}); // 2^61 elements of 8 bytes
  EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_INVALID_STRIDE);
  t = tensor(nullptr, SPF_F32, {2, 3});
  t.type = SPF_TYPE_COUNT;
  EXPECT_EQ(spf_tensor_extent_bytes(&t, &bytes), SPF_INVALID_TYPE);
}

// --- DLPack --------------------------------------------------------------------------------------------------------

TEST(Dlpack, RoundTripOfEveryTypeThatBothSidesHave) {
  float data[64] = {};
  const struct {
    spf_scalar_type type;
    uint8_t code, bits;
  } kRows[] = {{SPF_F32, kDLFloat, 32}, {SPF_F16, kDLFloat, 16}, {SPF_BF16, kDLBfloat, 16}, {SPF_S8, kDLInt, 8},
               {SPF_U8, kDLUInt, 8},    {SPF_I32, kDLInt, 32},   {SPF_I64, kDLInt, 64}};
  for (const auto& row : kRows) {
    spf_tensor view = strided(data, row.type, {2, 3}, {7, 2});
    view.device = {SPF_CUDA, 3};
    DLManagedTensor* managed = nullptr;
    ASSERT_EQ(spf_tensor_to_dlpack(&view, &managed), SPF_OK);
    EXPECT_EQ(managed->dl_tensor.dtype.code, row.code);
    EXPECT_EQ(managed->dl_tensor.dtype.bits, row.bits);
    EXPECT_EQ(managed->dl_tensor.dtype.lanes, 1);
    EXPECT_EQ(managed->dl_tensor.device.device_type, kDLCUDA);
    EXPECT_EQ(managed->dl_tensor.device.device_id, 3);
    EXPECT_EQ(managed->dl_tensor.data, data);
    EXPECT_EQ(managed->dl_tensor.byte_offset, 0u);
    spf_tensor back = {};
    ASSERT_EQ(spf_tensor_from_dlpack(managed, &back), SPF_OK);
    EXPECT_EQ(back.struct_size, sizeof(spf_tensor));
    EXPECT_EQ(back.type, row.type);
    EXPECT_EQ(back.data, data);
    EXPECT_EQ(back.rank, 2);
    EXPECT_EQ(back.device.kind, SPF_CUDA);
    EXPECT_EQ(back.device.index, 3);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(back.shape[i], view.shape[i]);
      EXPECT_EQ(back.stride[i], view.stride[i]);
    }
    managed->deleter(managed);
  }
}

TEST(Dlpack, EveryDeviceKind) {
  float data[2] = {};
  for (const auto& [kind, type] : {std::pair{SPF_CPU, kDLCPU}, {SPF_CUDA, kDLCUDA}, {SPF_HIP, kDLROCM}}) {
    spf_tensor view = tensor(data, SPF_F32, {2});
    view.device = {kind, 0};
    DLManagedTensor* managed = nullptr;
    ASSERT_EQ(spf_tensor_to_dlpack(&view, &managed), SPF_OK);
    EXPECT_EQ(managed->dl_tensor.device.device_type, type);
    managed->deleter(managed);
  }
}

class Import : public ::testing::Test {
 protected:
  void SetUp() override {
    managed.dl_tensor.data = data;
    managed.dl_tensor.device = {kDLCPU, 0};
    managed.dl_tensor.ndim = 2;
    managed.dl_tensor.dtype = {kDLFloat, 32, 1};
    managed.dl_tensor.shape = shape;
  }
  float data[32] = {};
  int64_t shape[7] = {2, 3, 1, 1, 1, 1, 1};
  DLManagedTensor managed = {};
  spf_tensor t = {};
};

TEST_F(Import, NoStridesMeansContiguousAndTheOffsetIsAdded) {
  managed.dl_tensor.byte_offset = 8;
  ASSERT_EQ(spf_tensor_from_dlpack(&managed, &t), SPF_OK);
  EXPECT_EQ(t.stride[0], 3);
  EXPECT_EQ(t.stride[1], 1);
  EXPECT_EQ(t.data, data + 2);
}

TEST_F(Import, NullDataStaysNull) {
  managed.dl_tensor.data = nullptr;
  managed.dl_tensor.byte_offset = 8;
  shape[0] = 0;
  ASSERT_EQ(spf_tensor_from_dlpack(&managed, &t), SPF_OK);
  EXPECT_EQ(t.data, nullptr);
}

TEST_F(Import, RefusalsLeaveTheViewAlone) {
  const auto refused = [&](spf_status status) {
    spf_tensor out;
    std::memset(static_cast<void*>(&out), 0x5a, sizeof out);
    spf_tensor before;
    std::memcpy(static_cast<void*>(&before), &out, sizeof out);
    EXPECT_EQ(spf_tensor_from_dlpack(&managed, &out), status);
    EXPECT_EQ(std::memcmp(&before, &out, sizeof out), 0);
  };
  EXPECT_EQ(spf_tensor_from_dlpack(nullptr, &t), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_tensor_from_dlpack(&managed, nullptr), SPF_INVALID_ARGUMENT);
  managed.dl_tensor.dtype = {kDLFloat, 64, 1};
  refused(SPF_INVALID_TYPE);
  expect_error("tensor_from_dlpack", "dtype", "bf16");
  managed.dl_tensor.dtype = {kDLFloat, 32, 4};
  refused(SPF_INVALID_TYPE);
  managed.dl_tensor.dtype = {kDLFloat, 32, 1};
  managed.dl_tensor.device.device_type = kDLVulkan;
  refused(SPF_INVALID_DEVICE);
  managed.dl_tensor.device.device_type = kDLCPU;
  managed.dl_tensor.ndim = 7;
  refused(SPF_INVALID_SHAPE);
  managed.dl_tensor.ndim = 2;
  shape[1] = -1;
  refused(SPF_INVALID_SHAPE);
}

TEST(Export, Refusals) {
  float data[8] = {};
  DLManagedTensor* managed = reinterpret_cast<DLManagedTensor*>(data);
  spf_tensor view = tensor(data, SPF_E4M3, {4});
  EXPECT_EQ(spf_tensor_to_dlpack(&view, &managed), SPF_INVALID_TYPE);
  EXPECT_EQ(managed, nullptr) << "no stale pointer is left behind";
  expect_error("tensor_to_dlpack", "type", "f32");
  EXPECT_STREQ(last_error().value, "e4m3");
  view = tensor(data, SPF_F32, {4});
  view.device = {static_cast<spf_device_kind>(3), 0};
  EXPECT_EQ(spf_tensor_to_dlpack(&view, &managed), SPF_INVALID_DEVICE);
  view = tensor(data, SPF_F32, {4});
  view.rank = 8;
  EXPECT_EQ(spf_tensor_to_dlpack(&view, &managed), SPF_INVALID_SHAPE);
  view.struct_size = 0;
  EXPECT_EQ(spf_tensor_to_dlpack(&view, &managed), SPF_ABI_MISMATCH);
  view = tensor(data, SPF_F32, {4});
  EXPECT_EQ(spf_tensor_to_dlpack(&view, nullptr), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_tensor_to_dlpack(nullptr, &managed), SPF_INVALID_ARGUMENT);
}

} // namespace
} // namespace spf::test

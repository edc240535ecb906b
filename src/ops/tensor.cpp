// C functions of tensor.h.
#include "spearfish/tensor.h"

#include <algorithm>
#include <memory>
#include <string>

#include <dlpack/dlpack.h>

#include "core/scalar.hpp"
#include "core/status.hpp"
#include "ops/view.hpp"

namespace spf::ops {
namespace {

struct DlpackType {
  spf_scalar_type type;
  uint8_t code, bits;
};

// DLPack has no code for fp8, fp4 and biased integers in the versions that every producer knows; those views cross as
// bytes, and the caller renames the type.
constexpr DlpackType kDlpackTypes[] = {
    {SPF_F32, kDLFloat, 32}, {SPF_F16, kDLFloat, 16}, {SPF_BF16, kDLBfloat, 16}, {SPF_S8, kDLInt, 8},
    {SPF_U8, kDLUInt, 8},    {SPF_I32, kDLInt, 32},   {SPF_I64, kDLInt, 64},
};

struct DlpackDevice {
  spf_device_kind kind;
  DLDeviceType type;
};

constexpr DlpackDevice kDlpackDevices[] = {{SPF_CPU, kDLCPU}, {SPF_CUDA, kDLCUDA}, {SPF_HIP, kDLROCM}};

spf_status check_extents(const char* op, int32_t rank, const int64_t* shape) {
  if (rank < 0 || rank > SPF_MAX_RANK)
    return fail(SPF_INVALID_SHAPE, op, "validate", "rank", std::to_string(rank), "0 to 6");
  if (rank > 0 && shape == nullptr)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "shape", "NULL", "one extent per dimension");
  int64_t elements = 1;
  for (int i = 0; i < rank; ++i) {
    if (shape[i] < 0)
      return fail(SPF_INVALID_SHAPE, op, "validate", "shape[" + std::to_string(i) + "]", std::to_string(shape[i]),
                  "0 or more");
    if (__builtin_mul_overflow(elements, std::max<int64_t>(shape[i], 1), &elements))
      return fail(SPF_INVALID_SHAPE, op, "validate", "shape", list_text(shape, rank), "fewer than 2^63 elements");
  }
  return SPF_OK;
}

spf_status check_type(const char* op, spf_scalar_type type) {
  if (is_scalar_type(type)) return SPF_OK;
  return fail(SPF_INVALID_TYPE, op, "validate", "type", std::to_string(static_cast<int>(type)),
              "a value of spf_scalar_type");
}

// Strides of 0 or more whose reach, in bytes, is a number.
spf_status check_reach(const char* op, const spf_tensor& t) {
  if (is_empty(t)) return SPF_OK;
  int64_t elements = 1, bytes;
  for (int i = 0; i < t.rank; ++i) {
    const std::string field = "stride[" + std::to_string(i) + "]", value = std::to_string(t.stride[i]);
    if (t.stride[i] < 0) return fail(SPF_INVALID_STRIDE, op, "validate", field, value, "0 or more");
    int64_t reach;
    if (__builtin_mul_overflow(t.shape[i] - 1, t.stride[i], &reach) ||
        __builtin_add_overflow(elements, reach, &elements) ||
        __builtin_mul_overflow(elements, element_bytes(t.type), &bytes))
      return fail(SPF_INVALID_STRIDE, op, "validate", field, value, "a view of fewer than 2^63 bytes");
  }
  return SPF_OK;
}

void contiguous_strides(spf_tensor* t) {
  int64_t step = 1;
  for (int i = t->rank - 1; i >= 0; --i) {
    t->stride[i] = step;
    step *= std::max<int64_t>(t->shape[i], 1);
  }
}

// A managed tensor of ours, with the arrays it points to.
struct Exported {
  DLManagedTensor managed;
  int64_t shape[SPF_MAX_RANK], stride[SPF_MAX_RANK];
};

void delete_exported(DLManagedTensor* self) { delete static_cast<Exported*>(self->manager_ctx); }

} // namespace
} // namespace spf::ops

using namespace spf;
using namespace spf::ops;

extern "C" {

spf_status spf_tensor_init(spf_tensor* tensor, void* data, spf_scalar_type type, int32_t rank, const int64_t* shape,
                           spf_device device) {
  return guarded("tensor_init", [&]() -> spf_status {
    if (tensor == nullptr)
      return fail(SPF_INVALID_ARGUMENT, "tensor_init", "validate", "tensor", "NULL", "a pointer to a struct");
    if (spf_status s = check_type("tensor_init", type); s != SPF_OK) return s;
    if (spf_status s = check_extents("tensor_init", rank, shape); s != SPF_OK) return s;
    *tensor = spf_tensor{};
    tensor->struct_size = sizeof *tensor;
    tensor->type = type;
    tensor->device = device;
    tensor->rank = rank;
    tensor->data = data;
    std::copy(shape, shape + rank, tensor->shape);
    contiguous_strides(tensor);
    return SPF_OK;
  });
}

spf_status spf_tensor_extent_bytes(const spf_tensor* tensor, int64_t* bytes) {
  if (spf_status s = check_struct_size(tensor, sizeof(spf_tensor), "tensor_extent_bytes", "tensor"); s != SPF_OK)
    return s;
  if (bytes == nullptr)
    return fail(SPF_INVALID_ARGUMENT, "tensor_extent_bytes", "validate", "bytes", "NULL", "a pointer");
  return guarded("tensor_extent_bytes", [&]() -> spf_status {
    if (spf_status s = check_type("tensor_extent_bytes", tensor->type); s != SPF_OK) return s;
    if (spf_status s = check_extents("tensor_extent_bytes", tensor->rank, tensor->shape); s != SPF_OK) return s;
    if (spf_status s = check_reach("tensor_extent_bytes", *tensor); s != SPF_OK) return s;
    *bytes = span_bytes(*tensor);
    return SPF_OK;
  });
}

spf_status spf_tensor_from_dlpack(const struct DLManagedTensor* managed, spf_tensor* tensor) {
  return guarded("tensor_from_dlpack", [&]() -> spf_status {
    constexpr const char* kOp = "tensor_from_dlpack";
    if (managed == nullptr || tensor == nullptr)
      return fail(SPF_INVALID_ARGUMENT, kOp, "validate", managed ? "tensor" : "managed", "NULL", "a pointer");
    const DLTensor& d = managed->dl_tensor;
    if (spf_status s = check_extents(kOp, d.ndim, d.shape); s != SPF_OK) return s;
    spf_tensor t = {};
    t.struct_size = sizeof t;
    for (const DlpackType& row : kDlpackTypes)
      if (row.code == d.dtype.code && row.bits == d.dtype.bits && d.dtype.lanes == 1) t.type = row.type;
    if (t.type == SPF_TYPE_NONE)
      return fail(SPF_INVALID_TYPE, kOp, "validate", "dtype",
                  "code " + std::to_string(d.dtype.code) + ", bits " + std::to_string(d.dtype.bits) + ", lanes " +
                      std::to_string(d.dtype.lanes),
                  "f32, f16, bf16, s8, u8, i32, i64 of one lane");
    bool known_device = false;
    for (const DlpackDevice& row : kDlpackDevices)
      if (row.type == d.device.device_type) {
        t.device = {row.kind, d.device.device_id};
        known_device = true;
      }
    if (!known_device)
      return fail(SPF_INVALID_DEVICE, kOp, "validate", "device_type", std::to_string(d.device.device_type),
                  "kDLCPU, kDLCUDA, kDLROCM");
    t.rank = d.ndim;
    std::copy(d.shape, d.shape + d.ndim, t.shape);
    if (d.strides != nullptr)
      std::copy(d.strides, d.strides + d.ndim, t.stride);
    else
      contiguous_strides(&t);
    t.data = d.data == nullptr ? nullptr : static_cast<char*>(d.data) + d.byte_offset;
    *tensor = t;
    return SPF_OK;
  });
}

spf_status spf_tensor_to_dlpack(const spf_tensor* tensor, struct DLManagedTensor** managed) {
  constexpr const char* kOp = "tensor_to_dlpack";
  if (spf_status s = check_struct_size(tensor, sizeof(spf_tensor), kOp, "tensor"); s != SPF_OK) return s;
  if (managed == nullptr) return fail(SPF_INVALID_ARGUMENT, kOp, "validate", "managed", "NULL", "a pointer");
  *managed = nullptr;
  return guarded(kOp, [&]() -> spf_status {
    if (spf_status s = check_extents(kOp, tensor->rank, tensor->shape); s != SPF_OK) return s;
    auto out = std::make_unique<Exported>();
    DLTensor& d = out->managed.dl_tensor;
    bool known = false;
    for (const DlpackType& row : kDlpackTypes)
      if (row.type == tensor->type) {
        d.dtype = {row.code, row.bits, 1};
        known = true;
      }
    if (!known)
      return fail(SPF_INVALID_TYPE, kOp, "validate", "type",
                  tensor->type > 0 && tensor->type < SPF_TYPE_COUNT ? scalar_info(tensor->type).name : "unknown",
                  "f32, f16, bf16, s8, u8, i32, i64");
    bool known_device = false;
    for (const DlpackDevice& row : kDlpackDevices)
      if (row.kind == tensor->device.kind) {
        d.device = {row.type, tensor->device.index};
        known_device = true;
      }
    if (!known_device)
      return fail(SPF_INVALID_DEVICE, kOp, "validate", "device.kind", std::to_string(tensor->device.kind),
                  "SPF_CPU, SPF_CUDA, SPF_HIP");
    std::copy(tensor->shape, tensor->shape + tensor->rank, out->shape);
    std::copy(tensor->stride, tensor->stride + tensor->rank, out->stride);
    d.ndim = tensor->rank;
    d.data = tensor->data;
    d.byte_offset = 0;
    d.shape = out->shape;
    d.strides = out->stride;
    out->managed.manager_ctx = out.get();
    out->managed.deleter = delete_exported;
    *managed = &out.release()->managed;
    return SPF_OK;
  });
}
}

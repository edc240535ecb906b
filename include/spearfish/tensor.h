/* Tensor view: a pointer with a scalar type, shape, strides and device. It owns nothing. */
#ifndef SPEARFISH_TENSOR_H
#define SPEARFISH_TENSOR_H

#include <stdint.h>

#include "spearfish/device.h"
#include "spearfish/export.h"
#include "spearfish/status.h"
#include "spearfish/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SPF_MAX_RANK 6

/* How codes of less than 8 bits lie in bytes. Types of 8 bits or more always use SPF_PACKING_NONE. */
typedef enum spf_packing {
  SPF_PACKING_NONE = 0,     /* one element per storage element; a 4-bit code in the low half of its own byte */
  SPF_PACKING_LOW_FIRST = 1 /* two 4-bit codes a byte along the last dimension, the even index in the low half */
} spf_packing;

typedef struct spf_tensor {
  uint32_t struct_size; /* in: sizeof(spf_tensor) */
  spf_scalar_type type;
  spf_packing packing;
  spf_device device;
  int32_t rank;                 /* 0..SPF_MAX_RANK */
  void* data;                   /* first element; may be NULL where shape holds a 0, and in plan-only calls */
  int64_t shape[SPF_MAX_RANK];  /* logical elements, outermost first */
  int64_t stride[SPF_MAX_RANK]; /* in logical elements */
} spf_tensor;

/* Fills *tensor as a contiguous (C order) view. */
SPF_API spf_status spf_tensor_init(spf_tensor* tensor, void* data, spf_scalar_type type, int32_t rank,
                                   const int64_t* shape, spf_device device);

/* Bytes from the first to one past the last element that the view reaches; 0 for an empty view. */
SPF_API spf_status spf_tensor_extent_bytes(const spf_tensor* tensor, int64_t* bytes);

/* DLPack (https://dmlc.github.io/dlpack). struct DLManagedTensor is the one of <dlpack/dlpack.h>.
 * Import borrows: the view is valid while the managed tensor lives. Export allocates a managed tensor whose deleter
 * frees the header only, never the data. SPF_INVALID_TYPE / SPF_INVALID_DEVICE where one side has no counterpart. */
struct DLManagedTensor;
SPF_API spf_status spf_tensor_from_dlpack(const struct DLManagedTensor* managed, spf_tensor* tensor);
SPF_API spf_status spf_tensor_to_dlpack(const spf_tensor* tensor, struct DLManagedTensor** managed);

#ifdef __cplusplus
}
#endif
#endif

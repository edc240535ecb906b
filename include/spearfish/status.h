/* Status codes and error detail.
 *
 * Every function of the C ABI that can fail returns an spf_status. The library never prints, aborts, or throws across
 * this border. What exactly was wrong is kept per thread and read with spf_last_error(). */
#ifndef SPEARFISH_STATUS_H
#define SPEARFISH_STATUS_H

#include <stdint.h>

#include "spearfish/export.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spf_status {
  SPF_OK = 0,
  SPF_INVALID_ARGUMENT = 1,     /* a field holds a value outside what the op allows */
  SPF_INVALID_SHAPE = 2,        /* a tensor has the wrong rank or extent */
  SPF_INVALID_TYPE = 3,         /* a tensor has a scalar type that the op does not take there */
  SPF_INVALID_STRIDE = 4,       /* a view is strided in a way that the op cannot read or write correctly */
  SPF_INVALID_ALIGNMENT = 5,    /* a pointer is not aligned to its element */
  SPF_INVALID_DEVICE = 6,       /* a tensor lies on another device than the launch, or the device does not exist */
  SPF_UNSUPPORTED = 7,          /* no kernel in any build serves this problem on this device */
  SPF_NOT_BUILT = 8,            /* a kernel exists, but this build does not hold it for this device */
  SPF_REQUIREMENT_UNMET = 9,    /* the caller forced or forbade kernels, and what is left cannot run */
  SPF_WORKSPACE_TOO_SMALL = 10, /* the workspace is smaller than the plan asks for */
  SPF_CORRUPT_DATA = 11,        /* bytes that claim to be a format are not */
  SPF_OUT_OF_MEMORY = 12,       /* host memory could not be had */
  SPF_DEVICE_ERROR = 13,        /* the device runtime reported an error; its code is in the detail */
  SPF_ABI_MISMATCH = 14,        /* struct_size is not one that this library knows */
  SPF_NOT_FOUND = 15,           /* a name (op, kernel, format, target) is not known */
  SPF_INTERNAL = 16             /* a promise of the library itself was broken; please report it */
} spf_status;

/* What went wrong last on the calling thread. Strings are owned by the library and stay valid until the next failing
 * call on the same thread. Empty strings where a part does not apply. */
typedef struct spf_error_detail {
  uint32_t struct_size; /* in: sizeof(spf_error_detail) */
  spf_status status;
  int32_t device_code; /* CUDA error code, 0 if none */
  const char* op;      /* op or function, e.g. "rms_norm" */
  const char* stage;   /* "validate", "plan", "pack", "launch", ... */
  const char* field;   /* the argument, e.g. "x.stride[1]" */
  const char* value;   /* the value found */
  const char* allowed; /* what would have been accepted */
  const char* message; /* all of it in one sentence */
} spf_error_detail;

/* The enumerator's name, e.g. "SPF_NOT_BUILT". Never NULL. */
SPF_API const char* spf_status_name(spf_status status);

/* One sentence that says what the status means. Never NULL. */
SPF_API const char* spf_status_sentence(spf_status status);

/* Copies the calling thread's last error into *detail. Returns SPF_OK, or SPF_ABI_MISMATCH for an unknown struct_size.
 */
SPF_API spf_status spf_last_error(spf_error_detail* detail);

#ifdef __cplusplus
}
#endif
#endif

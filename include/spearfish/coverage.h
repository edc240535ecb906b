/* Coverage: which kernel serves which target, how, and why not. Three separate facts stand beside each answer: whether
 * this library holds the code, where it was tested, and where its choice among instances was measured. */
#ifndef SPEARFISH_COVERAGE_H
#define SPEARFISH_COVERAGE_H

#include <stdint.h>

#include "spearfish/export.h"
#include "spearfish/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The answers to one question. Opaque; owned by the caller. */
typedef struct spf_coverage spf_coverage;

/* One kernel on one target. Strings live as long as the spf_coverage. */
typedef struct spf_coverage_row {
  uint32_t struct_size; /* in: sizeof(spf_coverage_row) */
  const char* family;   /* "norm" */
  const char* kernel;   /* "sm75_rows" */
  const char* ops;      /* "rms_norm, layer_norm": those of the family's ops that this row speaks of */
  const char* target;   /* as asked for, in its canonical spelling: "9.0a", "12.0+PTX", "avx512_vnni" */
  const char* state;    /* "native", "family", "compatible", "ptx" or "excluded" */
  const char* code;     /* the target whose machine code or PTX serves it: "12.0f"; "" if excluded */
  const char* reason;   /* why excluded; or a remark; or "" */
  int32_t built;        /* 1: this library, not the one that archs asks about, holds that kernel for that target */
  const char* tested;   /* devices on which its whole conformance run passed, whatever the target: "H200"; "" = none */
  const char* tuned;    /* devices on which its choices were measured; "" = none */
} spf_coverage_row;

/* Asks.
 *   archs    NULL: what this library was built for, the CPU rows included. Else a target list in any spelling
 *            ("9.0a;12.0f", "sm_90 sm_120", "all", "8.0+PTX", "avx512_vnni"): the resolver decides anew, by the same
 *            pure function that decided when this library was configured, and no GPU or toolkit is needed.
 *   toolkit  with archs: the CUDA toolkit to suppose, "12.8"; NULL: the newest that the hardware table knows.
 *
 * SPF_INVALID_ARGUMENT names what is not understood, with the nearest spelling. Free *coverage with
 * spf_coverage_free(). */
SPF_API spf_status spf_coverage_query(const char* archs, const char* toolkit, spf_coverage** coverage);

/* Number of rows; 0 for NULL. */
SPF_API int32_t spf_coverage_count(const spf_coverage* coverage);

/* The i-th row, kernels in manifest order, targets ascending. SPF_NOT_FOUND past the last. */
SPF_API spf_status spf_coverage_get(const spf_coverage* coverage, int32_t index, spf_coverage_row* row);

/* The canonical list that was asked about, CUDA and HIP targets only: "9.0a;12.0f". Never NULL. */
SPF_API const char* spf_coverage_targets(const spf_coverage* coverage);

/* The toolkit supposed: "13.0"; "" where none was. Never NULL. */
SPF_API const char* spf_coverage_toolkit(const spf_coverage* coverage);

SPF_API void spf_coverage_free(spf_coverage* coverage);

#ifdef __cplusplus
}
#endif
#endif

/* Versions and the facts of a build. */
#ifndef SPEARFISH_VERSION_H
#define SPEARFISH_VERSION_H

#include <stdint.h>

#include "spearfish/export.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SPF_VERSION_MAJOR 0
#define SPF_VERSION_MINOR 1
#define SPF_VERSION_PATCH 0

/* 10000 * major + 100 * minor + patch of the library in use. Compare with the header's numbers to detect a mix-up. */
SPF_API int32_t spf_version(void);

/* Version, commit, compiler, toolkit, targets and options in one line. */
SPF_API const char* spf_version_string(void);

/* Targets whose code this library holds, canonical spelling, separated by semicolons; "" for a CPU-only build. */
SPF_API const char* spf_built_targets(void);

/* CUDA toolkit that built this library, "13.0"; "" for a CPU-only build. */
SPF_API const char* spf_built_toolkit(void);

/* CUDA driver's supported version, e.g. 13000; 0 without a driver or in a CPU-only build. */
SPF_API int32_t spf_cuda_driver_version(void);

/* Why spf_cuda_device_count() is 0: one clause; "" if there are devices. */
SPF_API const char* spf_cuda_absence(void);

#ifdef __cplusplus
}
#endif
#endif

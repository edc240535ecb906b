/* Devices, and what is known about one: the only thing a plan needs of the hardware. */
#ifndef SPEARFISH_DEVICE_H
#define SPEARFISH_DEVICE_H

#include <stdint.h>

#include "spearfish/export.h"
#include "spearfish/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spf_device_kind { SPF_CPU = 0, SPF_CUDA = 1, SPF_HIP = 2 } spf_device_kind;

typedef struct spf_device {
  spf_device_kind kind;
  int32_t index; /* CUDA ordinal; 0 for the CPU */
} spf_device;

/* CPU instruction-set classes, as bits of spf_device_facts.cpu_features. Each is a row of arch/arch.toml. */
enum {
  SPF_CPU_AVX2 = 1 << 0,        /* AVX2, FMA, F16C */
  SPF_CPU_AVX512 = 1 << 1,      /* AVX-512 F, BW, VL, DQ */
  SPF_CPU_AVX512_VNNI = 1 << 2, /* AVX-512 VNNI */
  SPF_CPU_AVX512_BF16 = 1 << 3, /* AVX-512 BF16 */
  SPF_CPU_AMX_INT8 = 1 << 4,
  SPF_CPU_AMX_BF16 = 1 << 5
};

/* Everything a planner may know. Filled by probing a device, or by name for one that is not here. */
typedef struct spf_device_facts {
  uint32_t struct_size; /* in: sizeof(spf_device_facts) */
  spf_device_kind kind;
  char name[64];
  int32_t compute_capability;      /* 10 * major + minor, e.g. 90; 0 for the CPU */
  int32_t sm_count;                /* multiprocessors; CPU: threads used */
  int64_t shared_memory_per_block; /* bytes, opt-in maximum; 0 for the CPU */
  int64_t l2_bytes;                /* last-level cache */
  int64_t memory_bytes;
  uint32_t cpu_features; /* SPF_CPU_* bits */
  int32_t is_pretend;    /* 1 if the facts come from a name, not from a probe */
} spf_device_facts;

/* Probes a device of this machine. SPF_INVALID_DEVICE if it does not exist, with the devices that do. The CPU is always
 * there. Thread-safe; a CUDA device is probed once. */
SPF_API spf_status spf_device_probe(spf_device device, spf_device_facts* facts);

/* Facts by name, without hardware: "cpu" (this machine), "cpu:avx2", "cpu:amx", "cuda:0" (this machine), "sm_90",
 * "9.0", "h200", "rtx5090", ... A pretend CPU has 16 threads and 32 MiB of cache, wherever it is asked for.
 * SPF_NOT_FOUND lists what is known. */
SPF_API spf_status spf_device_facts_by_name(const char* name, spf_device_facts* facts);

/* Number of usable CUDA devices; 0 in a build without CUDA or on a machine without a driver. */
SPF_API int32_t spf_cuda_device_count(void);

/* Threads that CPU kernels use: OMP_NUM_THREADS or the machine's cores until spf_cpu_set_threads() says otherwise. */
SPF_API int32_t spf_cpu_threads(void);
SPF_API spf_status spf_cpu_set_threads(int32_t threads);

#ifdef __cplusplus
}
#endif
#endif

/* Launches and plans. A plan says what runs and why; asking for one and launching are the same call. */
#ifndef SPEARFISH_PLAN_H
#define SPEARFISH_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "spearfish/device.h"
#include "spearfish/export.h"
#include "spearfish/quant.h"
#include "spearfish/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spf_determinism {
  SPF_ROW_INVARIANT = 0,   /* a row's bits depend on that row only */
  SPF_RUN_TO_RUN = 1,      /* same call, same bits */
  SPF_NONDETERMINISTIC = 2 /* atomics: run only where allow_nondeterministic is set */
} spf_determinism;

/* The answer of the planner. Opaque; owned by the caller. Strings that describe it live as long as it does. */
typedef struct spf_plan spf_plan;

typedef struct spf_plan_info {
  uint32_t struct_size; /* in: sizeof(spf_plan_info) */
  const char* op;
  const char* kernel;      /* "norm/sm75_rows"; "" if nothing can run */
  const char* instance;    /* "T=bf16,vec=8" */
  const char* layout;      /* weight layout that the kernel reads; "" if the op has no packed weight */
  const char* activation;  /* what the kernel multiplies: "as given", "two bf16 terms" (of f32: 16 bits), "s16 per run
                              of up to 128 columns" or, only where allowed, "s8 per run of up to 128 columns"; then
                              ", weights rounded to 16 bits" where that is so */
  const char* determinism; /* "row-invariant", "run-to-run", "nondeterministic" */
  size_t workspace_bytes;
  double cost_us; /* the policy's estimate */
  int32_t rejected_count;
} spf_plan_info;

typedef struct spf_plan_rejection {
  uint32_t struct_size; /* in: sizeof(spf_plan_rejection) */
  const char* kernel;
  const char* code; /* "not_built", "feature", "target", "type", "shape", "layout", "view", "forbidden", "not_required",
                       "slower", "determinism", "activation" */
  const char* reason;
} spf_plan_rejection;

/* What a caller may demand of the choice. Names match "kernel", "family/kernel" or "family/kernel/instance". */
typedef struct spf_plan_options {
  uint32_t struct_size;       /* in: sizeof(spf_plan_options) */
  const char* require_kernel; /* NULL = free choice. Unmet is SPF_REQUIREMENT_UNMET, never a swap */
  const char* const* forbid;  /* forbid_count names */
  int32_t forbid_count;
  int32_t allow_activation_8bit;  /* 1: kernels may quantize activations to 8 bits (linear). Default 0 */
  int32_t allow_nondeterministic; /* 1: kernels may use atomics. Default 0 */
} spf_plan_options;

enum {
  SPF_LAUNCH_PDL =
      1 << 0, /* CUDA: programmatic dependent launch: may start before the previous kernel of the stream ends */
  SPF_LAUNCH_PLAN_ONLY = 1 << 1 /* validate and plan, store *plan, run nothing; data pointers may be NULL */
};

/* How a call runs. Zero-initialize, set struct_size. */
typedef struct spf_launch {
  uint32_t struct_size; /* in: sizeof(spf_launch) */
  uint32_t flags;       /* SPF_LAUNCH_* */
  spf_device device;
  void* stream;    /* cudaStream_t; NULL = default stream. Unused on the CPU */
  void* workspace; /* caller-owned, on `device`, 256-byte aligned; may be NULL if the plan needs none. May hold anything
                      before and after a call; calls that may run at once need one each */
  size_t workspace_bytes;
  const spf_plan_options* options; /* NULL = defaults */
  const spf_device_facts* facts;   /* plan-only calls: plan for this device instead of probing `device` */
  spf_plan** plan; /* if not NULL, receives the plan, also when nothing can run (then with every refusal). Free it */
} spf_launch;

/* A zero launch on a device. */
SPF_API spf_status spf_launch_init(spf_launch* launch, spf_device device);

/* When no kernel runs, a call returns
 *   SPF_REQUIREMENT_UNMET  where the kernel that options require cannot run, or all that can are forbidden;
 *   SPF_NOT_BUILT          where a kernel that this build lacks would run: the detail says which option adds it;
 *   SPF_UNSUPPORTED        where no kernel of any build would: the detail lists each kernel's reason.
 * Launches do not allocate device memory, synchronize, or read device data on the host, and may be captured in a CUDA
 * graph. */

/* What runs: kernel, instance, workspace. SPF_INVALID_ARGUMENT for NULL. */
SPF_API spf_status spf_plan_describe(const spf_plan* plan, spf_plan_info* info);
/* The i-th candidate that does not run, in manifest order; SPF_NOT_FOUND past the last. */
SPF_API spf_status spf_plan_rejected(const spf_plan* plan, int32_t index, spf_plan_rejection* rejection);
SPF_API void spf_plan_free(spf_plan* plan);

/* --- every op, by name: the typed functions under ops/ are thin wrappers of this ------------------------------- */

typedef enum spf_operand_role { SPF_ROLE_IN = 0, SPF_ROLE_OUT = 1, SPF_ROLE_INOUT = 2 } spf_operand_role;
/* ROWS: the last dimension is contiguous, other strides are free. ANY: all strides are. */
typedef enum spf_view_rule { SPF_VIEW_ROWS = 0, SPF_VIEW_ANY = 1, SPF_VIEW_CONTIGUOUS = 2 } spf_view_rule;

typedef struct spf_operand_info {
  uint32_t struct_size;
  const char* name;
  spf_operand_role role;
  int32_t optional;
  spf_view_rule view;
  int32_t type_variable; /* operands with the same number have the same type */
  const char* type_name; /* the manifest's name of that variable, "T" */
  uint32_t types;        /* bit (1 << spf_scalar_type) for each accepted type */
  const char* shape;     /* "*,2*D": '*' is any number of leading dimensions, other names are bound by extent */
  const char* values;    /* what it may hold: "index NB*BS", "unique index NB*BS or -1", "offsets T", "range 1..MB*BS",
                            "positive", "moderate", "mean MB*BS"; "" = any number of its type. What an op does with
                            others stands in its header */
  const char* traffic;   /* elements of it that a call moves, a product of symbols and numbers, where that is not all of
                            it ("rows" = product of the leading dimensions); "" = all */
} spf_operand_info;

typedef struct spf_param_info {
  uint32_t struct_size;
  const char* name;
  const char* kind; /* "f64", "i64", "bool" */
  double fallback, min, max;
} spf_param_info;

typedef struct spf_op_info {
  uint32_t struct_size;
  const char* name;
  const char* family;
  const char* summary;
  int32_t operand_count;
  int32_t param_count;
  int32_t takes_packed_weight;
} spf_op_info;

/* The i-th op, in manifest order; SPF_NOT_FOUND past the last. */
SPF_API spf_status spf_op_describe(int32_t index, spf_op_info* info);
SPF_API spf_status spf_op_operand(const char* op, int32_t index, spf_operand_info* info);
SPF_API spf_status spf_op_param(const char* op, int32_t index, spf_param_info* info);

/* One implementation of an op, whether or not this machine or this build can run it. */
typedef struct spf_kernel_info {
  uint32_t struct_size; /* in: sizeof(spf_kernel_info) */
  const char* name;     /* "norm/sm75_rows" */
  spf_device_kind device;
  int32_t is_reference;
  const char* determinism; /* "row-invariant", "run-to-run", "nondeterministic" */
  int32_t instance_count;  /* at least 1 */
} spf_kernel_info;

/* The i-th kernel of an op, in manifest order; SPF_NOT_FOUND past the last. */
SPF_API spf_status spf_op_kernel(const char* op, int32_t index, spf_kernel_info* info);

/* The name of a kernel's instance, "T=bf16,vec=8"; "" for a kernel without axes. "kernel/instance" is what
 * spf_plan_options.require_kernel takes to force exactly this instance. */
SPF_API spf_status spf_op_kernel_instance(const char* op, int32_t kernel, int32_t instance, const char** name);

/* Runs (or plans) an op. operands: one per schema operand, NULL where optional and absent. params: one double per
 * schema parameter, or params = NULL for the defaults. weight: for ops that take a packed weight, else NULL. */
SPF_API spf_status spf_op_call(const char* op, const spf_tensor* const* operands, int32_t operand_count,
                               const double* params, int32_t param_count, const spf_packed_weight* weight,
                               const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif

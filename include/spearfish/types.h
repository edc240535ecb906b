/* Scalar types: what one number is, by structure. */
#ifndef SPEARFISH_TYPES_H
#define SPEARFISH_TYPES_H

#include <stdint.h>

#include "spearfish/export.h"
#include "spearfish/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spf_scalar_type {
  SPF_TYPE_NONE = 0,
  SPF_F32 = 1,
  SPF_F16 = 2,
  SPF_BF16 = 3,
  SPF_E4M3 = 4, /* OCP e4m3fn: max 448, no infinity, NaN = S.1111.111 */
  SPF_E5M2 = 5, /* OCP e5m2: max 57344, IEEE infinity and NaN */
  SPF_E8M0 = 6, /* 2^(code - 127), NaN = 255, no sign, no zero */
  SPF_E2M1 = 7, /* 0 0.5 1 1.5 2 3 4 6 and negatives; no infinity, no NaN */
  SPF_S8 = 8,
  SPF_U8 = 9,
  SPF_S4 = 10, /* two's complement */
  SPF_U4 = 11,
  SPF_U4B8 = 12,   /* biased unsigned: value = code - 8 */
  SPF_U8B128 = 13, /* biased unsigned: value = code - 128 */
  SPF_I32 = 14,
  SPF_I64 = 15,
  SPF_BOOL = 16,
  SPF_TYPE_COUNT = 17
} spf_scalar_type;

/* How special values are coded. */
typedef enum spf_nan_rule {
  SPF_NAN_NONE = 0,    /* no NaN: integers and e2m1 */
  SPF_NAN_IEEE = 1,    /* all exponent bits set, mantissa != 0; mantissa 0 is infinity */
  SPF_NAN_ALL_ONES = 2 /* only the all-ones code (any sign) is NaN; no infinity */
} spf_nan_rule;

typedef struct spf_scalar_type_info {
  uint32_t struct_size;  /* in: sizeof(spf_scalar_type_info) */
  int32_t bits;          /* width of one code */
  int32_t exponent_bits; /* 0 for integers */
  int32_t mantissa_bits; /* value bits for integers, sign bit not counted */
  int32_t is_signed;
  int32_t exponent_bias; /* floating-point exponent bias; 0 for integers */
  int32_t integer_bias;  /* value = code - integer_bias; 0 for all but u4b8 and u8b128 */
  spf_nan_rule nan_rule;
  double max_value; /* largest finite value */
  double min_value; /* lowest finite value */
  const char* name; /* "e4m3", "u4b8", ... */
} spf_scalar_type_info;

/* Describes a scalar type. SPF_INVALID_TYPE for a value outside the enum. */
SPF_API spf_status spf_scalar_type_describe(spf_scalar_type type, spf_scalar_type_info* info);

/* "bf16" -> SPF_BF16. Accepts the names that spf_scalar_type_describe() gives. SPF_NOT_FOUND lists them. */
SPF_API spf_status spf_scalar_type_from_name(const char* name, spf_scalar_type* type);

/* Decodes count unpacked codes (one code in the low bits of each storage element: 1 byte for types up to 8 bits, else
 * 2, 4 or 8 bytes) to f64. Exact. */
SPF_API spf_status spf_decode(spf_scalar_type type, const void* codes, int64_t count, double* values);

/* Encodes count f64 values, one rounding to nearest even. Out of range: e4m3, e2m1 and the integers saturate; f16,
 * bf16, f32 and e5m2 go to infinity as IEEE does; e8m0 rounds to the nearest power of two and saturates to [2^-127,
 * 2^127]. NaN stays NaN where the type has one; e2m1 and integers code it as 0. bool is value != 0. */
SPF_API spf_status spf_encode(spf_scalar_type type, const double* values, int64_t count, void* codes);

#ifdef __cplusplus
}
#endif
#endif

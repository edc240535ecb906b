/* The whole C interface. */
#ifndef SPEARFISH_SPEARFISH_H
#define SPEARFISH_SPEARFISH_H

#include "spearfish/coverage.h"
#include "spearfish/device.h"
#include "spearfish/marlin.h"
#include "spearfish/ops/activation.h"
#include "spearfish/ops/attention.h"
#include "spearfish/ops/block_linear.h"
#include "spearfish/ops/block_quantize.h"
#include "spearfish/ops/embedding.h"
#include "spearfish/ops/hadamard.h"
#include "spearfish/ops/kv_cache.h"
#include "spearfish/ops/linear.h"
#include "spearfish/ops/norm.h"
#include "spearfish/ops/permute.h"
#include "spearfish/ops/quantize.h"
#include "spearfish/ops/rope.h"
#include "spearfish/ops/sampling.h"
#include "spearfish/ops/scaled_linear.h"
#include "spearfish/plan.h"
#include "spearfish/quant.h"
#include "spearfish/status.h"
#include "spearfish/tensor.h"
#include "spearfish/types.h"
#include "spearfish/version.h"

#endif

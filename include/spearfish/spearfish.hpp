// The C++ interface: header-only, C++17, on top of the C interface alone.
//
//   spearfish::Device      where memory lies and work runs; spearfish::facts("h200") for a device that is not here
//   spearfish::Tensor      a view: pointer, type, shape, strides, device. Owns nothing
//   spearfish::Plan        what runs and why, with every refusal
//   spearfish::Launch      how a call runs: device, stream, workspace, demands
//   spearfish::QuantizedWeight, spearfish::PackedWeight   weights that own their memory
//   spearfish::rms_norm(...), ...   one function per op, and spearfish::call(name, ...) for all of them
//
// Every failure is a spearfish::Error that carries status, op, stage, field, value and what is allowed.
#pragma once

#include "spearfish/cxx/activation.hpp"
#include "spearfish/cxx/attention.hpp"
#include "spearfish/cxx/block_linear.hpp"
#include "spearfish/cxx/block_quantize.hpp"
#include "spearfish/cxx/coverage.hpp"
#include "spearfish/cxx/device.hpp"
#include "spearfish/cxx/embedding.hpp"
#include "spearfish/cxx/error.hpp"
#include "spearfish/cxx/hadamard.hpp"
#include "spearfish/cxx/kv_cache.hpp"
#include "spearfish/cxx/linear.hpp"
#include "spearfish/cxx/marlin.hpp"
#include "spearfish/cxx/norm.hpp"
#include "spearfish/cxx/permute.hpp"
#include "spearfish/cxx/plan.hpp"
#include "spearfish/cxx/quant.hpp"
#include "spearfish/cxx/quantize.hpp"
#include "spearfish/cxx/rope.hpp"
#include "spearfish/cxx/sampling.hpp"
#include "spearfish/cxx/scaled_linear.hpp"
#include "spearfish/cxx/tensor.hpp"
#include "spearfish/spearfish.h"

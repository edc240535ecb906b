// The one place where arguments are checked: a schema, views and parameters in; a Call, or a status that names op,
// field, value and what is allowed, out.
#pragma once

#include <span>

#include "core/call.hpp"
#include "spearfish/plan.h"

namespace spf::ops {

struct RawCall {
  std::span<const spf_tensor* const> operands; // one per schema operand, nullptr where absent
  std::span<const double> params;              // one per schema parameter; empty = defaults
  const spf_packed_weight* weight = nullptr;
  spf_device device = {};
  bool plan_only = false; // data pointers may be NULL
};

spf_status validate(const OpSchema& schema, const RawCall& raw, Call* call);

// True if every output holds no element: such a call is done before it starts.
bool writes_nothing(const Call& call);

} // namespace spf::ops

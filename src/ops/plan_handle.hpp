// What an spf_plan holds: the choice, copied out so that it outlives the call.
#pragma once

#include <string>

#include "plan/planner.hpp"
#include "spearfish/plan.h"

struct spf_plan {
  spf_plan(const spf::Problem& problem, const spf::Plan& plan);

  std::string op, kernel, instance, layout, activation, determinism;
  size_t workspace_bytes = 0;
  double cost_us = 0;
  struct Rejected {
    std::string kernel, code, reason;
  };
  std::vector<Rejected> rejected;
};

namespace spf::ops {

const char* determinism_text(Determinism d); // as spf_plan_info spells it

} // namespace spf::ops

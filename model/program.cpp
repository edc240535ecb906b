#include "model/program.hpp"

#include <algorithm>

namespace spearfish::model {

size_t Program::plan(const Launch& launch, const DeviceFacts* facts,
                     const std::function<void(const std::string&, const Plan&)>& visit) const {
  size_t workspace = 0;
  for (const Step& step : steps_) {
    if (!step.plans) continue;
    Plan plan;
    Launch asking = launch;
    if (facts != nullptr)
      asking.plan_only(plan, *facts);
    else
      asking.plan_only(plan);
    try {
      step.call(asking);
    } catch (const spearfish::Error& e) {
      throw spearfish::Error(e.status(), step.what + ": " + e.what());
    }
    workspace = std::max(workspace, plan.workspace_bytes());
    if (visit) visit(step.what, plan);
  }
  return workspace;
}

} // namespace spearfish::model

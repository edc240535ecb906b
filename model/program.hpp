// A step as a list of prepared launches: made once, run as often as wanted.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "spearfish/spearfish.hpp"

namespace spearfish::model {

class Program {
 public:
  using Call = std::function<void(const Launch&)>;

  // `what` is for messages: the op and its layer. The views that a call holds may point nowhere until it runs.
  void add(std::string what, Call call) { steps_.push_back({std::move(what), std::move(call), true}); }
  // Something of the host between two launches.
  void add_host(std::function<void()> call) {
    steps_.push_back({"", [call = std::move(call)](const Launch&) { call(); }, false});
  }

  // Plans every launch and runs none. `launch` says device and demands; facts, if not nullptr, stand for its device.
  // Returns the workspace that the hungriest takes. visit(what, plan) sees each plan. Error: the library's refusal,
  // with `what` before it.
  size_t plan(const Launch& launch, const DeviceFacts* facts,
              const std::function<void(const std::string& what, const Plan& plan)>& visit = {}) const;

  void run(const Launch& launch) const {
    for (const Step& step : steps_) step.call(launch);
  }
  size_t size() const noexcept { return steps_.size(); }

 private:
  struct Step {
    std::string what;
    Call call;
    bool plans;
  };
  std::vector<Step> steps_;
};

} // namespace spearfish::model

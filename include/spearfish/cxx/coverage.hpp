// Coverage: which kernel serves which target, how, and why not.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spearfish/coverage.h"
#include "spearfish/cxx/error.hpp"

namespace spearfish {

struct Coverage {
  struct Row {
    std::string family, kernel, ops, target;
    std::string state; // "native", "family", "compatible", "ptx", "excluded"
    std::string code;  // the target whose code serves it
    std::string reason;
    bool built;                // this library holds it
    std::string tested, tuned; // devices; "" for none
  };
  std::string targets; // CUDA and HIP targets asked about: "9.0a;12.0f"
  std::string toolkit; // supposed: "13.0"
  std::vector<Row> rows;
};

// archs: a target list in any spelling, or std::nullopt for what this library was built for. toolkit: with archs, the
// CUDA toolkit to suppose; std::nullopt for the newest known. Throws SPF_INVALID_ARGUMENT with the nearest spelling.
inline Coverage coverage(const std::optional<std::string>& archs = std::nullopt,
                         const std::optional<std::string>& toolkit = std::nullopt) {
  spf_coverage* raw = nullptr;
  check(spf_coverage_query(archs ? archs->c_str() : nullptr, toolkit ? toolkit->c_str() : nullptr, &raw));
  struct Free {
    void operator()(spf_coverage* c) const { spf_coverage_free(c); }
  };
  const std::unique_ptr<spf_coverage, Free> answer(raw);
  Coverage out{spf_coverage_targets(raw), spf_coverage_toolkit(raw), {}};
  for (int32_t i = 0, count = spf_coverage_count(raw); i < count; ++i) {
    spf_coverage_row r = {};
    r.struct_size = sizeof r;
    check(spf_coverage_get(raw, i, &r));
    out.rows.push_back(
        {r.family, r.kernel, r.ops, r.target, r.state, r.code, r.reason, r.built != 0, r.tested, r.tuned});
  }
  return out;
}

} // namespace spearfish

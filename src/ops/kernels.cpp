// The kernels of an op as the dispatch table lists them: for tools that force one kernel after the other.
#include <cstring>
#include <string>

#include "core/status.hpp"
#include "ops/plan_handle.hpp"
#include "plan/planner.hpp"
#include "spearfish/plan.h"

namespace spf::ops {
namespace {

// The index-th kernel row of an op, or nullptr; *count receives how many there are.
const KernelRow* find_kernel(const char* op, int32_t index, int32_t* count) {
  const KernelRow* found = nullptr;
  *count = 0;
  for (const KernelRow& kernel : kManifest.kernels) {
    if (op == nullptr || std::strcmp(kernel.op, op) != 0) continue;
    if (*count == index) found = &kernel;
    ++*count;
  }
  return found;
}

spf_status no_kernel(const char* op, const char* where, int32_t index, int32_t count) {
  if (count == 0)
    return fail(SPF_NOT_FOUND, where, "validate", "op", op ? op : "NULL", "an op that spf_op_describe() lists");
  return fail(SPF_NOT_FOUND, where, "validate", "index", std::to_string(index), "0 to " + std::to_string(count - 1));
}

// Names are kept for the life of the process: the table's own strings have no "family/" in front.
const char* kept_name(const KernelRow& kernel) {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const KernelRow& k : kManifest.kernels) all.push_back(full_name(k));
    return all;
  }();
  return names[static_cast<size_t>(&kernel - kManifest.kernels.data())].c_str();
}

} // namespace
} // namespace spf::ops

using namespace spf;
using namespace spf::ops;

extern "C" {

spf_status spf_op_kernel(const char* op, int32_t index, spf_kernel_info* info) {
  return guarded("op_kernel", [&]() -> spf_status {
    if (spf_status s = check_struct_size(info, sizeof(spf_kernel_info), "op_kernel", "info"); s != SPF_OK) return s;
    int32_t count = 0;
    const KernelRow* kernel = find_kernel(op, index, &count);
    if (kernel == nullptr) return no_kernel(op, "op_kernel", index, count);
    *info = {info->struct_size,
             kept_name(*kernel),
             kernel->device,
             kernel->is_reference ? 1 : 0,
             determinism_text(kernel->determinism),
             static_cast<int32_t>(kernel->instances.size())};
    return SPF_OK;
  });
}

spf_status spf_op_kernel_instance(const char* op, int32_t kernel, int32_t instance, const char** name) {
  return guarded("op_kernel_instance", [&]() -> spf_status {
    if (name == nullptr)
      return fail(SPF_INVALID_ARGUMENT, "op_kernel_instance", "validate", "name", "NULL", "a pointer");
    int32_t count = 0;
    const KernelRow* row = find_kernel(op, kernel, &count);
    if (row == nullptr) return no_kernel(op, "op_kernel_instance", kernel, count);
    if (instance < 0 || static_cast<size_t>(instance) >= row->instances.size())
      return fail(SPF_NOT_FOUND, "op_kernel_instance", "validate", "instance", std::to_string(instance),
                  "0 to " + std::to_string(row->instances.size() - 1));
    *name = row->instances[static_cast<size_t>(instance)].name;
    return SPF_OK;
  });
}
}

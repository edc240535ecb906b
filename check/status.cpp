#include "check/status.hpp"

namespace spf::check {

ErrorDetail last_error() {
  spf_error_detail detail = {};
  detail.struct_size = sizeof detail;
  if (spf_last_error(&detail) != SPF_OK) throw Failure("spf_last_error refused its own struct");
  return {detail.status, detail.op, detail.stage, detail.field, detail.value, detail.allowed, detail.message};
}

void expect_ok(spf_status status, const char* what) {
  if (status != SPF_OK) throw Failure(std::string(what) + ": " + spf_status_name(status) + ": " + last_error().message);
}

} // namespace spf::check

// Failures of the engine itself, as exceptions: this is a tool, not the library.
#pragma once

#include <stdexcept>
#include <string>

#include "spearfish/status.h"

namespace spf::check {

// The machine or the library answered something that makes going on pointless.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The caller asked for something that does not exist (a device, a family, a case file).
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What spf_last_error() holds on this thread.
struct ErrorDetail {
  spf_status status = SPF_OK;
  std::string op, stage, field, value, allowed, message;
};
ErrorDetail last_error();

// Throws Failure with the library's message unless the status is SPF_OK.
void expect_ok(spf_status status, const char* what);

} // namespace spf::check

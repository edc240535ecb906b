// Status plumbing: the one way in which library code reports bad input. Nothing throws across the C ABI.
#pragma once

#include <string>
#include <string_view>

#include "spearfish/status.h"

namespace spf {

// Records the calling thread's error detail and returns `status`.
//   op       op or function, "rms_norm"
//   stage    "validate", "plan", "pack", "launch", ...
//   field    the argument, "x.shape[1]"
//   value    what was found
//   allowed  what would have been accepted
spf_status fail(spf_status status, std::string_view op, std::string_view stage, std::string_view field,
                std::string_view value, std::string_view allowed, int32_t device_code = 0);

// Runs body at the C border: an exception becomes a status, never a crash.
template <class Body>
spf_status guarded(const char* op, Body&& body) noexcept;

// Used by guarded(): translates the exception in flight.
spf_status fail_from_exception(const char* op) noexcept;

template <class Body>
spf_status guarded(const char* op, Body&& body) noexcept {
  try {
    return body();
  } catch (...) {
    return fail_from_exception(op);
  }
}

// SPF_OK if *versioned is not NULL and its struct_size is at least `smallest` (the first released size); larger structs
// come from newer headers and are fine as long as their known part is.
spf_status check_struct_size(const void* versioned, size_t smallest, std::string_view op, std::string_view field);

} // namespace spf

// Status -> exception.
#pragma once

#include <stdexcept>
#include <string>

#include "spearfish/status.h"

namespace spearfish {

// A failed call. what() is the library's one sentence. The parts are empty where they do not apply.
class Error : public std::runtime_error {
 public:
  Error(spf_status status, const spf_error_detail& detail)
      : std::runtime_error(detail.message),
        status_(status),
        device_code_(detail.device_code),
        op_(detail.op),
        stage_(detail.stage),
        field_(detail.field),
        value_(detail.value),
        allowed_(detail.allowed) {}
  Error(spf_status status, const std::string& message) : std::runtime_error(message), status_(status) {}

  spf_status status() const noexcept { return status_; }
  const char* status_name() const noexcept { return spf_status_name(status_); }
  int device_code() const noexcept { return device_code_; }        // CUDA error code, 0 if none
  const std::string& op() const noexcept { return op_; }           // "rms_norm"
  const std::string& stage() const noexcept { return stage_; }     // "validate", "plan", "pack", "launch"
  const std::string& field() const noexcept { return field_; }     // "x.stride[1]"
  const std::string& value() const noexcept { return value_; }     // what was found
  const std::string& allowed() const noexcept { return allowed_; } // what would have been accepted

 private:
  spf_status status_;
  int device_code_ = 0;
  std::string op_, stage_, field_, value_, allowed_;
};

// Throws what the calling thread's last error says if `status` is not SPF_OK.
inline void check(spf_status status) {
  if (status == SPF_OK) return;
  spf_error_detail detail = {};
  detail.struct_size = sizeof detail;
  // A detail that belongs to another status (or cannot be read) must not dress up this one.
  if (spf_last_error(&detail) != SPF_OK || detail.status != status) throw Error(status, spf_status_sentence(status));
  throw Error(status, detail);
}

} // namespace spearfish

#include "core/status.hpp"

#include <cstring>
#include <exception>
#include <new>

namespace spf {
namespace {

struct LastError {
  spf_status status = SPF_OK;
  int32_t device_code = 0;
  std::string op, stage, field, value, allowed, message;
};

LastError& last_error() {
  thread_local LastError error;
  return error;
}

struct StatusText {
  spf_status status;
  const char* name;
  const char* sentence;
};

constexpr StatusText kTexts[] = {
    {SPF_OK, "SPF_OK", "The call succeeded."},
    {SPF_INVALID_ARGUMENT, "SPF_INVALID_ARGUMENT", "An argument holds a value outside what the op allows."},
    {SPF_INVALID_SHAPE, "SPF_INVALID_SHAPE", "A tensor has the wrong rank or extent."},
    {SPF_INVALID_TYPE, "SPF_INVALID_TYPE", "A tensor has a scalar type that the op does not take there."},
    {SPF_INVALID_STRIDE, "SPF_INVALID_STRIDE",
     "A view is strided in a way that the op cannot read or write correctly."},
    {SPF_INVALID_ALIGNMENT, "SPF_INVALID_ALIGNMENT", "A pointer is not aligned to its element."},
    {SPF_INVALID_DEVICE, "SPF_INVALID_DEVICE",
     "A tensor lies on another device than the launch, or the device does not exist."},
    {SPF_UNSUPPORTED, "SPF_UNSUPPORTED", "No kernel of any build serves this problem on this device."},
    {SPF_NOT_BUILT, "SPF_NOT_BUILT", "A kernel exists, but this build does not hold it for this device."},
    {SPF_REQUIREMENT_UNMET, "SPF_REQUIREMENT_UNMET",
     "The caller forced or forbade kernels, and what is left cannot run."},
    {SPF_WORKSPACE_TOO_SMALL, "SPF_WORKSPACE_TOO_SMALL", "The workspace is smaller than the plan asks for."},
    {SPF_CORRUPT_DATA, "SPF_CORRUPT_DATA", "The bytes are not what their format says."},
    {SPF_OUT_OF_MEMORY, "SPF_OUT_OF_MEMORY", "Host memory could not be had."},
    {SPF_DEVICE_ERROR, "SPF_DEVICE_ERROR", "The device runtime reported an error."},
    {SPF_ABI_MISMATCH, "SPF_ABI_MISMATCH",
     "A struct_size is not one that this library knows; header and library differ."},
    {SPF_NOT_FOUND, "SPF_NOT_FOUND", "The name is not known."},
    {SPF_INTERNAL, "SPF_INTERNAL", "The library broke a promise of its own; please report it."},
};

const StatusText* find_text(spf_status status) {
  for (const StatusText& text : kTexts)
    if (text.status == status) return &text;
  return nullptr;
}

} // namespace

spf_status fail(spf_status status, std::string_view op, std::string_view stage, std::string_view field,
                std::string_view value, std::string_view allowed, int32_t device_code) {
  // Running out of memory while describing an error must not hide the error.
  try {
    LastError& e = last_error();
    e.status = status;
    e.device_code = device_code;
    e.op = op;
    e.stage = stage;
    e.field = field;
    e.value = value;
    e.allowed = allowed;
    e.message = std::string(op) + ": ";
    if (!field.empty())
      e.message += std::string(field) + " is " + std::string(value) + "; ";
    else if (!value.empty())
      e.message += std::string(value) + "; ";
    if (!allowed.empty())
      e.message += "allowed: " + std::string(allowed);
    else if (const StatusText* text = find_text(status))
      e.message += text->sentence;
  } catch (...) {
    last_error().status = status;
  }
  return status;
}

spf_status fail_from_exception(const char* op) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return fail(SPF_OUT_OF_MEMORY, op, "", "", "host allocation failed", "");
  } catch (const std::exception& e) {
    return fail(SPF_INTERNAL, op, "", "", e.what(), "");
  } catch (...) {
    return fail(SPF_INTERNAL, op, "", "", "unknown exception", "");
  }
}

spf_status check_struct_size(const void* versioned, size_t smallest, std::string_view op, std::string_view field) {
  if (versioned == nullptr) return fail(SPF_INVALID_ARGUMENT, op, "validate", field, "NULL", "a pointer to a struct");
  uint32_t size;
  std::memcpy(&size, versioned, sizeof size);
  if (size < smallest || size > 4096)
    return fail(SPF_ABI_MISMATCH, op, "validate", std::string(field) + ".struct_size", std::to_string(size),
                "sizeof the struct, at least " + std::to_string(smallest));
  return SPF_OK;
}

} // namespace spf

extern "C" {

const char* spf_status_name(spf_status status) {
  const auto* text = spf::find_text(status);
  return text ? text->name : "SPF_UNKNOWN";
}

const char* spf_status_sentence(spf_status status) {
  const auto* text = spf::find_text(status);
  return text ? text->sentence : "This value is not a status of this library.";
}

spf_status spf_last_error(spf_error_detail* detail) {
  if (detail == nullptr || detail->struct_size < sizeof(spf_error_detail)) return SPF_ABI_MISMATCH;
  const spf::LastError& e = spf::last_error();
  detail->status = e.status;
  detail->device_code = e.device_code;
  detail->op = e.op.c_str();
  detail->stage = e.stage.c_str();
  detail->field = e.field.c_str();
  detail->value = e.value.c_str();
  detail->allowed = e.allowed.c_str();
  detail->message = e.message.c_str();
  return SPF_OK;
}
}

// The C functions of spearfish/quant.h: validate, then hand over to formats and pack.
#include "spearfish/quant.h"

#include <cmath>
#include <cstring>
#include <string>

#include "core/status.hpp"
#include "formats/format.hpp"
#include "formats/quantize.hpp"
#include "pack/layout.hpp"

namespace {

using spf::fail;

spf_status require(const void* pointer, const char* op, const char* field, const char* allowed) {
  if (pointer != nullptr) return SPF_OK;
  return fail(SPF_INVALID_ARGUMENT, op, "validate", field, "NULL", allowed);
}

std::string scheme_names() {
  std::string names;
  for (const auto& named : spf::formats::named_schemes())
    names += (names.empty() ? "" : ", ") + std::string(named.name);
  return names;
}

spf_status check_encodable(const spf_quant_scheme* scheme, int64_t n, int64_t k, const char* op) {
  if (spf_status st = require(scheme, op, "scheme", "a pointer to a scheme")) return st;
  if (spf_status st = spf::formats::check_scheme(*scheme, op)) return st;
  if (spf_status st = spf::formats::check_extents(n, k, op)) return st;
  const spf::formats::Format* format = spf::formats::find_format(scheme->format);
  if (format->block != nullptr && format->block->encode == nullptr)
    return fail(SPF_UNSUPPORTED, op, "validate", "scheme.format", format->name,
                "a format with an encoder: " + scheme_names());
  return SPF_OK;
}

// What every quantizer checks before it writes.
spf_status check_quantize(const spf_quant_scheme* scheme, int64_t n, int64_t k, const float* w, const void* memory,
                          size_t bytes, const spf_quantized_weight* weight, const char* op) {
  if (spf_status st = check_encodable(scheme, n, k, op)) return st;
  if (spf_status st = spf::check_struct_size(weight, sizeof(spf_quantized_weight), op, "weight")) return st;
  const size_t needed = spf::formats::quantized_bytes(*scheme, n, k);
  if (bytes < needed)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "bytes", std::to_string(bytes),
                "at least " + std::to_string(needed));
  if (needed > 0)
    if (spf_status st = require(memory, op, "memory", "a pointer to the bytes")) return st;
  if (reinterpret_cast<uintptr_t>(memory) % spf::formats::kViewAlign != 0)
    return fail(SPF_INVALID_ALIGNMENT, op, "validate", "memory", std::to_string(reinterpret_cast<uintptr_t>(memory)),
                "a multiple of " + std::to_string(spf::formats::kViewAlign));
  if (n > 0 && k > 0)
    if (spf_status st = require(w, op, "w", "n * k floats")) return st;
  if (scheme->format != SPF_FORMAT_PLAIN)
    for (int64_t i = 0; i < n * k; ++i)
      if (!std::isfinite(w[i]))
        return fail(SPF_INVALID_ARGUMENT, op, "validate",
                    "w[" + std::to_string(i / k) + ", " + std::to_string(i % k) + "]", std::to_string(w[i]),
                    "finite values");
  return SPF_OK;
}

// Scales, zeros and global scale of a scheme and extents that passed check_quantize().
spf_status check_scales(const spf_quant_scheme& scheme, int64_t n, int64_t k, const float* scales, const int32_t* zeros,
                        float global_scale, const char* op) {
  const spf::formats::Format& format = *spf::formats::find_format(scheme.format);
  if (format.block != nullptr || scheme.format == SPF_FORMAT_PLAIN)
    return fail(SPF_UNSUPPORTED, op, "validate", "scheme.format", format.name,
                "a format with scales of its own tensor");
  if (scheme.has_global_scale && !(global_scale > 0 && std::isfinite(global_scale)))
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "global_scale", std::to_string(global_scale),
                "a finite number above 0");
  if (n == 0 || k == 0) return SPF_OK;
  if (spf_status st = require(scales, op, "scales", "a scale for every group")) return st;
  const int64_t groups = spf::formats::extents_of(scheme, n, k).groups;
  const int64_t rows = scheme.group_n < 0 ? 1 : (n + scheme.group_n - 1) / scheme.group_n;
  const auto at = [&](int64_t i) { return "[" + std::to_string(i / groups) + ", " + std::to_string(i % groups) + "]"; };
  for (int64_t i = 0; i < rows * groups; ++i)
    if (!std::isfinite(scales[i]))
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "scales" + at(i), std::to_string(scales[i]), "finite scales");
  if (scheme.zero != SPF_ZERO_INTEGER) return SPF_OK;
  if (spf_status st = require(zeros, op, "zeros", "a zero point for every group")) return st;
  const int32_t lowest = format.zero_offset, top = static_cast<int32_t>(spf::scalar_info(scheme.weight).max_value);
  for (int64_t i = 0; i < rows * groups; ++i)
    if (zeros[i] < lowest || zeros[i] > top)
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "zeros" + at(i), std::to_string(zeros[i]),
                  std::to_string(lowest) + " to " + std::to_string(top));
  return SPF_OK;
}

} // namespace

extern "C" {

spf_status spf_quant_scheme_by_name(const char* name, spf_quant_scheme* scheme) {
  constexpr const char* kOp = "quant_scheme_by_name";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = require(name, kOp, "name", "a scheme name")) return st;
    if (spf_status st = spf::check_struct_size(scheme, sizeof(spf_quant_scheme), kOp, "scheme")) return st;
    for (const auto schemes :
         {spf::formats::named_schemes(), spf::formats::decode_only_schemes(), spf::formats::unlisted_schemes()})
      for (const auto& named : schemes) {
        if (std::strcmp(named.name, name) != 0) continue;
        const uint32_t size = scheme->struct_size;
        *scheme = named.scheme;
        scheme->struct_size = size;
        return SPF_OK;
      }
    return fail(SPF_NOT_FOUND, kOp, "validate", "name", name, scheme_names());
  });
}

const char* spf_quant_scheme_name(int32_t index) {
  const auto all = spf::formats::named_schemes();
  return index >= 0 && static_cast<size_t>(index) < all.size() ? all[static_cast<size_t>(index)].name : nullptr;
}

spf_status spf_quantized_weight_check(const spf_quantized_weight* weight) {
  constexpr const char* kOp = "quantized_weight_check";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = require(weight, kOp, "weight", "a pointer to a weight")) return st;
    return spf::formats::check(*weight, kOp);
  });
}

spf_status spf_dequantize(const spf_quantized_weight* weight, float* out) {
  constexpr const char* kOp = "dequantize";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = require(weight, kOp, "weight", "a pointer to a weight")) return st;
    if (spf_status st = spf::formats::check(*weight, kOp)) return st;
    if (weight->n == 0 || weight->k == 0) return SPF_OK;
    if (spf_status st = require(out, kOp, "out", "room for n * k floats")) return st;
    const spf::formats::Decoder decoder(*weight);
    for (int64_t n = 0; n < weight->n; ++n) decoder.dequantize_row(n, out + n * weight->k);
    return SPF_OK;
  });
}

spf_status spf_quantize_size(const spf_quant_scheme* scheme, int64_t n, int64_t k, size_t* bytes) {
  constexpr const char* kOp = "quantize_size";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = check_encodable(scheme, n, k, kOp)) return st;
    if (spf_status st = require(bytes, kOp, "bytes", "a pointer to the result")) return st;
    *bytes = spf::formats::quantized_bytes(*scheme, n, k);
    return SPF_OK;
  });
}

spf_status spf_quantize(const spf_quant_scheme* scheme, int64_t n, int64_t k, const float* w, void* memory,
                        size_t bytes, spf_quantized_weight* weight) {
  constexpr const char* kOp = "quantize";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = check_quantize(scheme, n, k, w, memory, bytes, weight, kOp)) return st;
    const uint32_t size = weight->struct_size;
    const spf_quantized_weight placed = spf::formats::place_views(*scheme, n, k, memory);
    spf::formats::quantize(w, placed, memory);
    *weight = placed;
    weight->struct_size = size;
    return SPF_OK;
  });
}

spf_status spf_quantize_with_scales(const spf_quant_scheme* scheme, int64_t n, int64_t k, const float* w,
                                    const float* scales, const int32_t* zeros, float global_scale, void* memory,
                                    size_t bytes, spf_quantized_weight* weight) {
  constexpr const char* kOp = "quantize_with_scales";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = check_quantize(scheme, n, k, w, memory, bytes, weight, kOp)) return st;
    if (spf_status st = check_scales(*scheme, n, k, scales, zeros, global_scale, kOp)) return st;
    const uint32_t size = weight->struct_size;
    const spf_quantized_weight placed = spf::formats::place_views(*scheme, n, k, memory);
    spf::formats::quantize_with_scales(w, {scales, zeros, global_scale}, placed, memory);
    *weight = placed;
    weight->struct_size = size;
    return SPF_OK;
  });
}

spf_status spf_pack_size(const spf_quant_scheme* scheme, const char* layout, int64_t n, int64_t k, size_t* bytes) {
  constexpr const char* kOp = "pack_size";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = require(scheme, kOp, "scheme", "a pointer to a scheme")) return st;
    if (spf_status st = require(bytes, kOp, "bytes", "a pointer to the result")) return st;
    spf_packed_weight header;
    if (spf_status st = spf::pack::describe(*scheme, layout, n, k, kOp, &header)) return st;
    *bytes = header.bytes;
    return SPF_OK;
  });
}

spf_status spf_pack(const spf_quantized_weight* weight, const char* layout, void* memory, size_t bytes,
                    spf_packed_weight* packed) {
  constexpr const char* kOp = "pack";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = require(weight, kOp, "weight", "a pointer to a weight")) return st;
    if (spf_status st = spf::check_struct_size(packed, sizeof(spf_packed_weight), kOp, "packed")) return st;
    const uint32_t size = packed->struct_size;
    if (spf_status st = spf::pack::pack(*weight, layout, memory, bytes, kOp, packed)) return st;
    packed->struct_size = size;
    return SPF_OK;
  });
}

spf_status spf_unpack(const spf_packed_weight* packed, float* out) {
  constexpr const char* kOp = "unpack";
  return spf::guarded(kOp, [&]() -> spf_status {
    if (spf_status st = require(packed, kOp, "packed", "a pointer to a packed weight")) return st;
    if (spf_status st = spf::pack::check_packed(*packed, kOp)) return st;
    if (packed->device.kind != SPF_CPU)
      return fail(SPF_INVALID_DEVICE, kOp, "validate", "packed.device",
                  std::to_string(static_cast<int>(packed->device.kind)), "0 (CPU): copy the bytes to the host first");
    if (packed->n == 0 || packed->k == 0) return SPF_OK;
    if (spf_status st = require(out, kOp, "out", "room for n * k floats")) return st;
    return spf::pack::find_layout(packed->layout)->unpack(*packed, out);
  });
}

const char* spf_layout_name(int32_t index) {
  const auto all = spf::pack::all_layouts();
  return index >= 0 && static_cast<size_t>(index) < all.size() ? all[static_cast<size_t>(index)]->name : nullptr;
}
}

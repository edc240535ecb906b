#include "formats/format.hpp"

#include <array>
#include <string>

#include "formats/formats.hpp"

namespace spf::formats {
namespace {

constexpr std::array kFormats = {
    &kPlain, &kGptq, &kGptqV2, &kAwq,  &kCtInt, &kFp8,  &kNvfp4, &kMxfp4, &kMxfp8, &kQ4_0,
    &kQ4_1,  &kQ5_0, &kQ5_1,   &kQ8_0, &kQ2_K,  &kQ3_K, &kQ4_K,  &kQ5_K,  &kQ6_K,  &kIq2Xxs,
    &kIq2Xs, &kIq2S, &kIq3Xxs, &kIq3S, &kIq1S,  &kIq1M, &kIq4Nl, &kIq4Xs,
};

constexpr int64_t kMaxExtent = int64_t{1} << 31;   // of n and of k
constexpr int64_t kMaxElements = int64_t{1} << 56; // of n * k

std::string name_of(spf_scalar_type type) {
  return is_scalar_type(type) ? scalar_info(type).name : std::to_string(static_cast<int>(type));
}

std::string shape_text(const spf_tensor& t) {
  std::string text = "[";
  for (int32_t i = 0; i < t.rank; ++i) text += (i ? ", " : "") + std::to_string(t.shape[i]);
  return text + "]";
}

// One view of a weight under check. On success `grid` addresses it as rows x cols.
struct ViewCheck {
  const char* op;
  const char* field;
  const spf_tensor& tensor;
  const ViewSpec& spec;
  Grid* grid;

  spf_status refuse(spf_status status, const char* part, const std::string& value, const std::string& allowed) const {
    return fail(status, op, "validate", std::string(field) + part, value, allowed);
  }

  // Strides (in elements) of the rows x cols reading of the shape; false if the shape is another one.
  static bool match(const spf_tensor& t, int64_t rows, int64_t cols, int64_t* row_stride, int64_t* col_stride) {
    *row_stride = *col_stride = 0;
    if (t.rank == 2 && t.shape[0] == rows && t.shape[1] == cols) {
      *row_stride = t.stride[0];
      *col_stride = t.stride[1];
      return true;
    }
    if (t.rank == 1 && cols == 1 && t.shape[0] == rows) {
      *row_stride = t.stride[0];
      return true;
    }
    if (t.rank == 1 && rows == 1 && t.shape[0] == cols) {
      *col_stride = t.stride[0];
      return true;
    }
    return t.rank == 0 && rows == 1 && cols == 1;
  }

  spf_status run() const {
    if (spec.type == SPF_TYPE_NONE) {
      if (tensor.type != SPF_TYPE_NONE)
        return refuse(SPF_INVALID_TYPE, ".type", name_of(tensor.type), "none: this scheme has no such tensor");
      return SPF_OK;
    }
    const bool raw_byte = storage_bytes(spec.type) == 1 && tensor.type == SPF_U8;
    // Two e2m1 codes a byte may be given as the bytes they are or as logical elements.
    const bool nibbles = spec.type == SPF_U8 && tensor.type == SPF_E2M1 && tensor.packing == SPF_PACKING_LOW_FIRST;
    if (tensor.type != spec.type && !raw_byte && !nibbles)
      return refuse(SPF_INVALID_TYPE, ".type", name_of(tensor.type), name_of(spec.type));
    if (tensor.packing != SPF_PACKING_NONE && !nibbles)
      return refuse(SPF_INVALID_TYPE, ".packing", std::to_string(static_cast<int>(tensor.packing)), "0");
    if (tensor.device.kind != SPF_CPU)
      return refuse(SPF_INVALID_DEVICE, ".device", std::to_string(static_cast<int>(tensor.device.kind)),
                    "0 (CPU): quantized weights are read on the host");
    if (tensor.rank < 0 || tensor.rank > SPF_MAX_RANK)
      return refuse(SPF_INVALID_SHAPE, ".rank", std::to_string(tensor.rank), "0 to 2");
    int64_t row_stride, col_stride;
    bool fits;
    if (nibbles) {
      const int64_t last = tensor.rank > 0 ? tensor.shape[tensor.rank - 1] : 0;
      fits = ceil_div(last, 2) == spec.cols && match(tensor, spec.rows, last, &row_stride, &col_stride);
    } else {
      fits = match(tensor, spec.rows, spec.cols, &row_stride, &col_stride);
    }
    if (!fits)
      return refuse(SPF_INVALID_SHAPE, ".shape", shape_text(tensor),
                    "[" + std::to_string(spec.rows) + ", " + std::to_string(spec.cols) + "]" +
                        (nibbles ? " in bytes of two codes" : ""));
    if (nibbles) {
      if (spec.cols > 1 && col_stride != 1)
        return refuse(SPF_INVALID_STRIDE, ".stride", std::to_string(col_stride), "1 along the packed dimension");
      if (spec.rows > 1 && row_stride % 2 != 0)
        return refuse(SPF_INVALID_STRIDE, ".stride", std::to_string(row_stride), "an even number of codes a row");
      row_stride /= 2;
      col_stride = 1;
    }
    if (spec.rows == 0 || spec.cols == 0) return SPF_OK;
    if (spec.dense_rows && spec.cols > 1 && col_stride != 1)
      return refuse(SPF_INVALID_STRIDE, ".stride", std::to_string(col_stride), "1 along the last dimension");
    if (tensor.data == nullptr) return refuse(SPF_INVALID_ARGUMENT, ".data", "NULL", "a pointer to the first element");
    const int bytes = storage_bytes(spec.type);
    if (reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(bytes) != 0)
      return refuse(SPF_INVALID_ALIGNMENT, ".data", std::to_string(reinterpret_cast<uintptr_t>(tensor.data)),
                    "a multiple of " + std::to_string(bytes));
    *grid = {static_cast<char*>(tensor.data), row_stride * bytes, col_stride * bytes, bytes};
    return SPF_OK;
  }
};

} // namespace

SchemeRule& SchemeRule::type(const char* field, spf_scalar_type found, std::initializer_list<spf_scalar_type> allowed) {
  if (status != SPF_OK) return *this;
  std::string names;
  for (spf_scalar_type t : allowed) {
    if (t == found) return *this;
    names += (names.empty() ? "" : ", ") + name_of(t);
  }
  status = fail(SPF_INVALID_TYPE, op, "validate", std::string("scheme.") + field, name_of(found),
                names + " (format " + format + ")");
  return *this;
}

SchemeRule& SchemeRule::one_of(const char* field, int32_t found, std::initializer_list<int32_t> allowed) {
  if (status != SPF_OK) return *this;
  std::string values;
  for (int32_t v : allowed) {
    if (v == found) return *this;
    values += (values.empty() ? "" : ", ") + std::to_string(v);
  }
  status = fail(SPF_INVALID_ARGUMENT, op, "validate", std::string("scheme.") + field, std::to_string(found),
                values + " (format " + format + ")");
  return *this;
}

SchemeRule& SchemeRule::group(const char* field, int32_t found) {
  if (status != SPF_OK || found == -1 || found > 0) return *this;
  status = fail(SPF_INVALID_ARGUMENT, op, "validate", std::string("scheme.") + field, std::to_string(found),
                std::string("-1 or more than 0 (format ") + format + ")");
  return *this;
}

Extents extents_of(const spf_quant_scheme& scheme, int64_t n, int64_t k) {
  return {scheme, n, k, scheme.group_k > 0 ? ceil_div(k, scheme.group_k) : 1};
}

std::span<const Format* const> all_formats() { return kFormats; }

const Format* find_format(spf_format id) {
  for (const Format* format : kFormats)
    if (format->id == id) return format;
  return nullptr;
}

namespace {

// A code of 0 has to mean the value 0 for a sparse matrix to stay one.
spf_status check_sparsity(const spf_quant_scheme& scheme, const Format& format, const char* op) {
  const bool may =
      (scheme.format == SPF_FORMAT_PLAIN || scheme.format == SPF_FORMAT_FP8 || scheme.format == SPF_FORMAT_CT_INT) &&
      scheme.zero == SPF_ZERO_NONE;
  SchemeRule rule{op, format.name, scheme};
  return (may ? rule.one_of("sparsity", scheme.sparsity, {SPF_SPARSITY_NONE, SPF_SPARSITY_2_OF_4})
              : rule.one_of("sparsity", scheme.sparsity, {SPF_SPARSITY_NONE}))
      .status;
}

} // namespace

spf_status check_scheme(const spf_quant_scheme& scheme, const char* op) {
  if (spf_status st = check_struct_size(&scheme, sizeof(spf_quant_scheme), op, "scheme")) return st;
  const Format* format = find_format(scheme.format);
  if (format != nullptr) {
    if (spf_status st = format->check_scheme(scheme, op)) return st;
    return check_sparsity(scheme, *format, op);
  }
  std::string names;
  for (const Format* f : kFormats)
    names += (names.empty() ? "" : ", ") + std::to_string(static_cast<int>(f->id)) + " (" + f->name + ")";
  return fail(SPF_INVALID_ARGUMENT, op, "validate", "scheme.format", std::to_string(static_cast<int>(scheme.format)),
              names);
}

spf_status check_extents(int64_t n, int64_t k, const char* op) {
  for (const auto& [field, extent] : {std::pair{"n", n}, std::pair{"k", k}})
    if (extent < 0 || extent > kMaxExtent)
      return fail(SPF_INVALID_SHAPE, op, "validate", field, std::to_string(extent), "0 to 2^31");
  if (n > 0 && k > kMaxElements / n)
    return fail(SPF_INVALID_SHAPE, op, "validate", "n * k", std::to_string(n) + " * " + std::to_string(k),
                "at most 2^56");
  return SPF_OK;
}

spf_status bind(const spf_quantized_weight& w, const char* op, Grids* grids) {
  const ViewSpecs specs = find_format(w.scheme.format)->views(extents_of(w.scheme, w.n, w.k));
  const ViewCheck checks[] = {
      {op, "codes", w.codes, specs.codes, &grids->codes},
      {op, "scales", w.scales, specs.scales, &grids->scales},
      {op, "zeros", w.zeros, specs.zeros, &grids->zeros},
      {op, "g_idx", w.g_idx, specs.g_idx, &grids->g_idx},
      {op, "global_scale", w.global_scale, specs.global_scale, &grids->global_scale},
  };
  for (const ViewCheck& view : checks)
    if (spf_status st = view.run()) return st;
  return SPF_OK;
}

spf_status check(const spf_quantized_weight& weight, const char* op) {
  if (spf_status st = check_struct_size(&weight, sizeof(spf_quantized_weight), op, "weight")) return st;
  if (spf_status st = check_scheme(weight.scheme, op)) return st;
  if (spf_status st = check_extents(weight.n, weight.k, op)) return st;
  Grids grids;
  if (spf_status st = bind(weight, op, &grids)) return st;
  const int64_t groups = extents_of(weight.scheme, weight.n, weight.k).groups;
  if (grids.g_idx.data == nullptr) return SPF_OK;
  for (int64_t k = 0; k < weight.k; ++k) {
    const int64_t group = static_cast<int32_t>(grids.g_idx.get(k, 0));
    if (group < 0 || group >= groups)
      return fail(SPF_CORRUPT_DATA, op, "validate", "g_idx[" + std::to_string(k) + "]", std::to_string(group),
                  "0 to " + std::to_string(groups - 1));
  }
  return SPF_OK;
}

float scale_value(spf_scalar_type type, uint32_t raw) {
  switch (type) {
    case SPF_F32:
      return std::bit_cast<float>(raw);
    case SPF_F16:
      return f16_to_f32(static_cast<uint16_t>(raw));
    case SPF_BF16:
      return bf16_to_f32(static_cast<uint16_t>(raw));
    case SPF_E4M3:
      return e4m3_to_f32(static_cast<uint8_t>(raw));
    case SPF_E8M0:
      return e8m0_to_f32(static_cast<uint8_t>(raw));
    default:
      return 1.0f;
  }
}

uint32_t scale_code(spf_scalar_type type, float value) {
  switch (type) {
    case SPF_F32:
      return std::bit_cast<uint32_t>(value);
    case SPF_F16:
      return f32_to_f16(value);
    case SPF_BF16:
      return f32_to_bf16(value);
    case SPF_E4M3:
      return f32_to_e4m3(value);
    case SPF_E8M0:
      return f32_to_e8m0(value);
    default:
      return 0;
  }
}

CodeTable::CodeTable(spf_scalar_type type) {
  for (uint32_t code = 0; code < 256; ++code) value[code] = static_cast<float>(decode(type, code));
}

Decoder::Decoder(const spf_quantized_weight& weight)
    : weight_(weight),
      format_(find_format(weight.scheme.format)),
      extents_(extents_of(weight.scheme, weight.n, weight.k)) {
  bind(weight_, "decode", &grids_);
  if (grids_.global_scale.data != nullptr) global_scale_ = std::bit_cast<float>(grids_.global_scale.get(0, 0));
}

void Decoder::decode_block(int64_t n, int64_t block, uint8_t* codes, float* scales, float* minima) const {
  const auto* row = reinterpret_cast<const uint8_t*>(grids_.codes.data + n * grids_.codes.row_stride);
  format_->block->decode(row + block * format_->block->bytes, codes, scales, minima);
}

uint32_t Decoder::code(int64_t n, int64_t k) const {
  if (format_->block != nullptr) {
    uint8_t codes[kMaxBlockValues];
    float scales[kMaxBlockGroups], minima[kMaxBlockGroups];
    decode_block(n, k / format_->block->values, codes, scales, minima);
    return codes[k % format_->block->values];
  }
  if (format_->code_place == nullptr) return grids_.codes.get(n, k);
  const Place at = format_->code_place(extents_, n, k);
  const uint32_t mask = scalar_info(scheme().weight).bits == 4 ? 0xf : 0xff;
  return (grids_.codes.get(at.i, at.j) >> at.shift) & mask;
}

float Decoder::scale(int64_t n, int64_t g) const {
  if (format_->block != nullptr) {
    float scales[kMaxBlockGroups], minima[kMaxBlockGroups];
    uint8_t codes[kMaxBlockValues];
    const int per_block = format_->block->values / format_->block->group;
    decode_block(n, g / per_block, codes, scales, minima);
    return scales[g % per_block];
  }
  if (format_->scale_place == nullptr) return 1.0f;
  const Place at = format_->scale_place(extents_, n, g);
  return scale_value(scheme().scale, grids_.scales.get(at.i, at.j));
}

float Decoder::zero(int64_t n, int64_t g) const {
  if (scheme().zero == SPF_ZERO_NONE) return 0.0f;
  if (format_->block != nullptr) {
    float scales[kMaxBlockGroups], minima[kMaxBlockGroups];
    uint8_t codes[kMaxBlockValues];
    const int per_block = format_->block->values / format_->block->group;
    decode_block(n, g / per_block, codes, scales, minima);
    return minima[g % per_block];
  }
  const Place at = format_->zero_place(extents_, n, g);
  const uint32_t mask = scalar_info(scheme().weight).bits == 4 ? 0xf : 0xff;
  return static_cast<float>(((grids_.zeros.get(at.i, at.j) >> at.shift) & mask) +
                            static_cast<uint32_t>(format_->zero_offset));
}

Decoder::Run Decoder::row_run(int64_t n) const {
  const int bytes = grids_.codes.bytes; // 0 where there are no codes
  if (format_->code_place == nullptr || (bytes != 1 && bytes != 4)) return {};
  const int bits = scalar_info(scheme().weight).bits, each = bytes * 8 / bits;
  const int64_t count = k() / each;
  if (count < 2) return {};
  const auto place = [&](int64_t at) { return format_->code_place(extents_, n, at); };
  const Place first = place(0), second = place(each), last = place((count - 1) * each);
  for (int c = 0; c < each; ++c) {
    const Place at = place(c);
    if (at.i != first.i || at.j != first.j || at.shift != c * bits) return {};
  }
  const int64_t di = second.i - first.i, dj = second.j - first.j;
  if (last.i != first.i + di * (count - 1) || last.j != first.j + dj * (count - 1)) return {};
  const Grid& grid = grids_.codes;
  return {grid.data + first.i * grid.row_stride + first.j * grid.col_stride,
          di * grid.row_stride + dj * grid.col_stride, count, each};
}

void Decoder::codes_row(int64_t n, uint8_t* codes) const {
  if (format_->block == nullptr) {
    const Run run = row_run(n);
    const int bits = scalar_info(scheme().weight).bits;
    const auto* from = run.data;
    const bool words = grids_.codes.bytes == 4;
    for (int64_t i = 0; i < run.count; ++i, from += run.step) {
      uint32_t element = static_cast<uint8_t>(*from);
      if (words) std::memcpy(&element, from, 4);
      for (int c = 0; c < run.each; ++c, element >>= bits)
        codes[i * run.each + c] = static_cast<uint8_t>(element & ((1u << bits) - 1));
    }
    for (int64_t k = run.count * run.each; k < this->k(); ++k) codes[k] = static_cast<uint8_t>(code(n, k));
    return;
  }
  const int values = format_->block->values;
  uint8_t block_codes[kMaxBlockValues];
  float scales[kMaxBlockGroups], minima[kMaxBlockGroups];
  for (int64_t k = 0; k < this->k(); k += values) {
    decode_block(n, k / values, block_codes, scales, minima);
    std::memcpy(codes + k, block_codes, static_cast<size_t>(std::min<int64_t>(values, this->k() - k)));
  }
}

void Decoder::scales_row(int64_t n, float* scales, float* zeros) const {
  if (format_->block == nullptr) {
    for (int64_t g = 0; g < groups(); ++g) {
      scales[g] = scale(n, g);
      if (zeros != nullptr) zeros[g] = zero(n, g);
    }
    return;
  }
  const int per_block = format_->block->values / format_->block->group;
  uint8_t codes[kMaxBlockValues];
  float block_scales[kMaxBlockGroups], minima[kMaxBlockGroups] = {};
  for (int64_t g = 0; g < groups(); g += per_block) {
    decode_block(n, g / per_block, codes, block_scales, minima);
    for (int64_t i = g; i < std::min(groups(), g + per_block); ++i) {
      scales[i] = block_scales[i - g];
      if (zeros != nullptr) zeros[i] = minima[i - g];
    }
  }
}

void Decoder::dequantize_row(int64_t n, float* values) const {
  if (is_plain()) {
    for (int64_t k = 0; k < this->k(); ++k) values[k] = scale_value(scheme().weight, grids_.codes.get(n, k));
    return;
  }
  const CodeTable table(scheme().weight);
  const auto one = [&](uint32_t code, float scale, float zero) {
    return dequantize(scheme().zero, table.value[code], scale, zero) * global_scale_;
  };
  if (format_->block != nullptr) {
    const int size = format_->block->values, group = format_->block->group;
    uint8_t codes[kMaxBlockValues];
    float scales[kMaxBlockGroups], minima[kMaxBlockGroups] = {};
    for (int64_t k0 = 0; k0 < this->k(); k0 += size) {
      decode_block(n, k0 / size, codes, scales, minima);
      for (int64_t k = k0; k < std::min(this->k(), k0 + size); ++k) {
        const int64_t i = k - k0;
        values[k] = one(codes[i], scales[i / group], minima[i / group]);
      }
    }
    return;
  }
  int64_t last = -1;
  float s = 0, z = 0;
  for (int64_t k = 0; k < this->k(); ++k) {
    const int64_t g = group(k);
    if (g != last) {
      s = scale(n, g);
      z = zero(n, g);
      last = g;
    }
    values[k] = one(code(n, k), s, z);
  }
}

} // namespace spf::formats

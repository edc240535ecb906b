#include "ops/validate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>

#include "core/constraint.hpp"
#include "core/scalar.hpp"
#include "core/status.hpp"
#include "formats/format.hpp"
#include "ops/view.hpp"
#include "pack/layout.hpp"

namespace spf::ops {
namespace {

std::string indexed(const char* operand, const char* part, int i) {
  return std::string(operand) + "." + part + "[" + std::to_string(i) + "]";
}

std::string type_names(uint32_t mask) {
  std::string out;
  for (int t = 1; t < SPF_TYPE_COUNT; ++t)
    if (mask >> t & 1u)
      out += (out.empty() ? "" : ", ") + std::string(scalar_info(static_cast<spf_scalar_type>(t)).name);
  return out;
}

// The shortest text that keeps small values apart from 0.
std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

// What a parameter takes: "a number of 0 or more", "an integer from 0 to 8".
std::string range_text(const ParamSchema& p) {
  if (p.kind == ParamKind::kBool) return "0 or 1";
  const std::string noun = p.kind == ParamKind::kI64 ? "an integer" : "a number";
  const bool below = std::isfinite(p.min), above = std::isfinite(p.max);
  if (below && above) return noun + " from " + number_text(p.min) + " to " + number_text(p.max);
  if (below) return noun + " of " + number_text(p.min) + " or more";
  if (above) return noun + " of " + number_text(p.max) + " or less";
  return noun;
}

// In-place calls are for operands that the schema gives the same shape: each element is read before it is written.
bool same_dims(const OperandSchema& a, const OperandSchema& b) {
  return a.dim_count == b.dim_count &&
         std::equal(a.dims, a.dims + a.dim_count, b.dims, [](const DimSchema& x, const DimSchema& y) {
           return x.symbol == y.symbol && x.factor == y.factor && x.leading == y.leading && x.padded == y.padded &&
                  x.divisor == y.divisor;
         });
}

std::string device_text(spf_device d) {
  const char* kind = d.kind == SPF_CPU ? "cpu:" : d.kind == SPF_CUDA ? "cuda:" : "hip:";
  return kind + std::to_string(d.index);
}

std::string shape_text(const spf_tensor& t) { return list_text(t.shape, t.rank); }
std::string stride_text(const spf_tensor& t) { return list_text(t.stride, t.rank); }

// Validates one call against one schema; members are the state that the checks share.
class Validator {
 public:
  Validator(const OpSchema& schema, const RawCall& raw, Call* call) : schema_(schema), raw_(raw), call_(*call) {}

  spf_status run() {
    call_ = Call{};
    call_.problem.op = &schema_;
    if (raw_.operands.size() != static_cast<size_t>(schema_.operand_count))
      return bad(SPF_INVALID_ARGUMENT, "operand_count", std::to_string(raw_.operands.size()),
                 std::to_string(schema_.operand_count));
    if (spf_status s = weight(); s != SPF_OK) return s;
    for (int i = 0; i < schema_.operand_count; ++i)
      if (spf_status s = operand(i); s != SPF_OK) return s;
    if (spf_status s = params(); s != SPF_OK) return s;
    if (spf_status s = constraint(); s != SPF_OK) return s;
    return overlaps();
  }

 private:
  spf_status bad(spf_status status, std::string_view field, std::string_view value, std::string_view allowed) const {
    return fail(status, schema_.name, "validate", field, value, allowed);
  }

  // A symbol's extent must be the same wherever it occurs. field(): its name, for a refusal only, as launches may not
  // ask for memory.
  template <class Field>
  spf_status bind(int symbol, int64_t extent, const Field& field) {
    int64_t& value = call_.problem.symbols[symbol];
    if (!bound_[symbol]) {
      bound_[symbol] = true;
      value = extent;
      return SPF_OK;
    }
    if (value == extent) return SPF_OK;
    return bad(SPF_INVALID_SHAPE, field(), std::to_string(extent),
               std::string(schema_.symbols[symbol]) + " = " + std::to_string(value) + " as in the other operands");
  }

  spf_status weight() {
    if (!schema_.packed_weight) {
      if (raw_.weight != nullptr)
        return bad(SPF_INVALID_ARGUMENT, "weight", "given", "NULL: this op takes no packed weight");
      return SPF_OK;
    }
    if (raw_.weight == nullptr) return bad(SPF_INVALID_ARGUMENT, "weight", "NULL", "a packed weight");
    const spf_packed_weight& w = *raw_.weight;
    if (spf_status s = check_struct_size(&w, sizeof(spf_packed_weight), schema_.name, "weight"); s != SPF_OK) return s;
    if (std::memchr(w.layout, '\0', sizeof w.layout) == nullptr)
      return bad(SPF_INVALID_ARGUMENT, "weight.layout", std::to_string(sizeof w.layout) + " characters without an end",
                 "a layout name written by spf_pack");
    if (w.n < 0 || w.k < 0)
      return bad(SPF_INVALID_SHAPE, "weight", list_text(std::array{w.n, w.k}.data(), 2), "extents of 0 or more");
    if (w.bytes != 0 && (reinterpret_cast<uintptr_t>(w.data) & 255u) != 0)
      return bad(SPF_INVALID_ALIGNMENT, "weight.data", "not aligned", "a multiple of 256 bytes");
    if (!raw_.plan_only) {
      if (w.data == nullptr && w.bytes != 0)
        return bad(SPF_INVALID_ARGUMENT, "weight.data", "NULL", "the bytes that spf_pack wrote");
      if (*w.layout == '\0')
        return bad(SPF_INVALID_ARGUMENT, "weight.layout", "''", "a layout name written by spf_pack");
    }
    if (w.device.kind != raw_.device.kind || w.device.index != raw_.device.index)
      return bad(SPF_INVALID_DEVICE, "weight.device", device_text(w.device), device_text(raw_.device));
    if (spf_status s = weight_header(w); s != SPF_OK) return s;
    call_.weight = raw_.weight;
    call_.problem.scheme = w.scheme;
    call_.problem.layout = w.layout;
    for (int s = 0; s < schema_.symbol_count; ++s) {
      const bool is_n = std::strcmp(schema_.symbols[s], "N") == 0, is_k = std::strcmp(schema_.symbols[s], "K") == 0;
      if (!is_n && !is_k) continue;
      const auto field = [&] { return is_n ? "weight.n" : "weight.k"; };
      if (spf_status st = bind(s, is_n ? w.n : w.k, field); st != SPF_OK) return st;
    }
    return SPF_OK;
  }

  // A plan may come before the weight is packed: then scheme and extents are all there is, and the layout is open or a
  // wish.
  spf_status weight_header(const spf_packed_weight& w) const {
    if (w.data != nullptr || !raw_.plan_only) return pack::check_packed(w, schema_.name);
    if (spf_status s = formats::check_scheme(w.scheme, schema_.name); s != SPF_OK) return s;
    if (spf_status s = formats::check_extents(w.n, w.k, schema_.name); s != SPF_OK) return s;
    spf_packed_weight header;
    return *w.layout != '\0' ? pack::describe(w.scheme, w.layout, w.n, w.k, schema_.name, &header) : SPF_OK;
  }

  spf_status operand(int index) {
    const OperandSchema& o = schema_.operands[index];
    const spf_tensor* t = raw_.operands[static_cast<size_t>(index)];
    if (t == nullptr) {
      if (o.optional) return SPF_OK;
      return bad(SPF_INVALID_ARGUMENT, o.name, "NULL", "a tensor");
    }
    if (spf_status s = check_struct_size(t, sizeof(spf_tensor), schema_.name, o.name); s != SPF_OK) return s;
    if (spf_status s = type(o, *t); s != SPF_OK) return s;
    if (t->device.kind != raw_.device.kind || t->device.index != raw_.device.index)
      return bad(SPF_INVALID_DEVICE, std::string(o.name) + ".device", device_text(t->device), device_text(raw_.device));
    if (spf_status s = shape(o, *t); s != SPF_OK) return s;
    if (spf_status s = strides(o, *t); s != SPF_OK) return s;
    if (spf_status s = pointer(o, *t); s != SPF_OK) return s;
    call_.operands[index] = *t;
    call_.problem.present |= 1u << index;
    if (is_contiguous(*t)) call_.problem.contiguous |= 1u << index;
    if (is_aligned16(*t)) call_.problem.aligned16 |= 1u << index;
    return SPF_OK;
  }

  spf_status type(const OperandSchema& o, const spf_tensor& t) {
    const TypeVariable& variable = schema_.type_variables[o.type_variable];
    const bool known = t.type > SPF_TYPE_NONE && t.type < SPF_TYPE_COUNT;
    if (!known || (variable.types & type_bit(t.type)) == 0)
      return bad(SPF_INVALID_TYPE, std::string(o.name) + ".type",
                 known ? scalar_info(t.type).name : std::to_string(static_cast<int>(t.type)),
                 type_names(variable.types));
    spf_scalar_type& chosen = call_.problem.types[o.type_variable];
    if (chosen == SPF_TYPE_NONE) chosen = t.type;
    if (chosen != t.type)
      return bad(SPF_INVALID_TYPE, std::string(o.name) + ".type", scalar_info(t.type).name,
                 std::string(scalar_info(chosen).name) + " as in the other operands");
    if (t.packing != SPF_PACKING_NONE)
      return bad(SPF_INVALID_ARGUMENT, std::string(o.name) + ".packing", std::to_string(t.packing), "SPF_PACKING_NONE");
    return SPF_OK;
  }

  spf_status shape(const OperandSchema& o, const spf_tensor& t) {
    const bool leading = o.dim_count > 0 && o.dims[0].leading;
    const int fixed = o.dim_count - (leading ? 1 : 0);
    if (t.rank < fixed || t.rank > SPF_MAX_RANK || (!leading && t.rank != fixed))
      return bad(SPF_INVALID_SHAPE, std::string(o.name) + ".rank", std::to_string(t.rank),
                 leading ? std::to_string(fixed) + " to " + std::to_string(SPF_MAX_RANK) : std::to_string(fixed));
    int64_t elements = 1;
    for (int i = 0; i < t.rank; ++i) {
      if (t.shape[i] < 0)
        return bad(SPF_INVALID_SHAPE, indexed(o.name, "shape", i), std::to_string(t.shape[i]), "0 or more");
      // A zero elsewhere must not hide an overflow.
      if (__builtin_mul_overflow(elements, std::max<int64_t>(t.shape[i], 1), &elements))
        return bad(SPF_INVALID_SHAPE, std::string(o.name) + ".shape", shape_text(t), "fewer than 2^63 elements");
    }
    const int lead_dims = t.rank - fixed;
    if (leading)
      if (spf_status s = leading_dims(o, t, lead_dims); s != SPF_OK) return s;
    for (int d = 0; d < fixed; ++d) {
      const DimSchema& dim = o.dims[d + (leading ? 1 : 0)];
      const int64_t extent = t.shape[lead_dims + d];
      const auto field = [&] { return indexed(o.name, "shape", lead_dims + d); };
      if (!dim.binds()) {
        const int64_t expected = dim.extent(dim.symbol < 0 ? 0 : call_.problem.symbols[dim.symbol]);
        if (extent != expected)
          return bad(SPF_INVALID_SHAPE, field(), std::to_string(extent), std::to_string(expected));
        continue;
      }
      if (extent % dim.factor != 0)
        return bad(SPF_INVALID_SHAPE, field(), std::to_string(extent), "a multiple of " + std::to_string(dim.factor));
      if (spf_status s = bind(dim.symbol, extent / dim.factor, field); s != SPF_OK) return s;
    }
    return SPF_OK;
  }

  // Leading dimensions must be the same in every operand that has them; their product is the symbol "*".
  spf_status leading_dims(const OperandSchema& o, const spf_tensor& t, int count) {
    int64_t product = 1;
    for (int i = 0; i < count; ++i) product *= t.shape[i];
    if (lead_owner_ == nullptr) {
      lead_owner_ = &t;
      lead_name_ = o.name;
      lead_count_ = count;
    }
    if (lead_count_ != count || !std::equal(t.shape, t.shape + count, lead_owner_->shape))
      return bad(SPF_INVALID_SHAPE, std::string(o.name) + ".shape", shape_text(t),
                 "leading dimensions " + list_text(lead_owner_->shape, lead_count_) + " as in " + lead_name_);
    return bind(o.dims[0].symbol, product, [&] { return std::string(o.name) + ".shape"; });
  }

  spf_status strides(const OperandSchema& o, const spf_tensor& t) {
    if (is_empty(t)) return SPF_OK;
    int64_t last = 0;
    for (int i = 0; i < t.rank; ++i) {
      if (t.stride[i] < 0)
        return bad(SPF_INVALID_STRIDE, indexed(o.name, "stride", i), std::to_string(t.stride[i]), "0 or more");
      int64_t reach;
      if (__builtin_mul_overflow(t.shape[i] - 1, t.stride[i], &reach) || __builtin_add_overflow(last, reach, &last) ||
          last > std::numeric_limits<int64_t>::max() / 16)
        return bad(SPF_INVALID_STRIDE, indexed(o.name, "stride", i), std::to_string(t.stride[i]),
                   "a view of fewer than 2^59 elements");
    }
    if (o.view == ViewRule::kRows && t.rank > 0 && t.shape[t.rank - 1] > 1 && t.stride[t.rank - 1] != 1)
      return bad(SPF_INVALID_STRIDE, indexed(o.name, "stride", t.rank - 1), std::to_string(t.stride[t.rank - 1]),
                 "1: the last dimension must be contiguous");
    if (o.view == ViewRule::kContiguous && !is_contiguous(t))
      return bad(SPF_INVALID_STRIDE, std::string(o.name) + ".stride", stride_text(t), "a contiguous view");
    if (o.role != Role::kIn && self_overlaps(t))
      return bad(SPF_INVALID_STRIDE, std::string(o.name) + ".stride", stride_text(t),
                 "a view in which no two elements share memory: it is written");
    return SPF_OK;
  }

  spf_status pointer(const OperandSchema& o, const spf_tensor& t) {
    if (t.data == nullptr) {
      if (raw_.plan_only || is_empty(t)) return SPF_OK;
      return bad(SPF_INVALID_ARGUMENT, std::string(o.name) + ".data", "NULL", "a pointer to the first element");
    }
    const auto size = static_cast<uintptr_t>(element_bytes(t.type));
    if (reinterpret_cast<uintptr_t>(t.data) % size != 0)
      return bad(SPF_INVALID_ALIGNMENT, std::string(o.name) + ".data", "not aligned",
                 "a multiple of " + std::to_string(size) + " bytes");
    return SPF_OK;
  }

  spf_status params() {
    const auto count = static_cast<size_t>(schema_.param_count);
    if (!raw_.params.empty() && raw_.params.size() != count)
      return bad(SPF_INVALID_ARGUMENT, "param_count", std::to_string(raw_.params.size()), std::to_string(count));
    for (size_t i = 0; i < count; ++i) {
      const ParamSchema& p = schema_.params[i];
      const double value = raw_.params.empty() ? p.fallback : raw_.params[i];
      const bool whole = p.kind == ParamKind::kF64 || value == std::floor(value);
      if (!(value >= p.min && value <= p.max) || !whole)
        return bad(SPF_INVALID_ARGUMENT, p.name, number_text(value), range_text(p));
      call_.problem.params[i] = value;
    }
    return SPF_OK;
  }

  // A violated parameter is a bad argument; anything else is about extents.
  spf_status constraint() const {
    if (schema_.constraint == nullptr) return SPF_OK;
    const Violation v = schema_.constraint(call_.problem);
    if (v.field.empty()) return SPF_OK;
    const bool param = std::any_of(schema_.params, schema_.params + schema_.param_count,
                                   [&](const ParamSchema& p) { return v.field == p.name; });
    const bool type = v.field.ends_with(".type");
    return bad(param ? SPF_INVALID_ARGUMENT : type ? SPF_INVALID_TYPE : SPF_INVALID_SHAPE, v.field, v.value, v.allowed);
  }

  // What is written must not be read or written through another operand, unless it is an in-place call: an input and an
  // output of the same schema shape that are the very same view.
  spf_status overlaps() const {
    for (int w = 0; w < schema_.operand_count; ++w) {
      if (schema_.operands[w].role == Role::kIn || (call_.problem.present >> w & 1u) == 0) continue;
      const spf_tensor& written = call_.operands[w];
      if (call_.weight != nullptr && overlaps_weight(written)) return overlap(w, "weight", false);
      for (int r = 0; r < schema_.operand_count; ++r) {
        if (r == w || (call_.problem.present >> r & 1u) == 0) continue;
        const bool in_place =
            schema_.operands[r].role == Role::kIn && same_dims(schema_.operands[r], schema_.operands[w]);
        if (in_place && same_view(written, call_.operands[r])) continue;
        if (share_memory(written, call_.operands[r])) return overlap(w, schema_.operands[r].name, in_place);
      }
    }
    return SPF_OK;
  }

  spf_status overlap(int written, const char* other, bool in_place) const {
    return bad(SPF_INVALID_ARGUMENT, schema_.operands[written].name, std::string("a view that overlaps ") + other,
               in_place ? "the very same view, or memory of its own" : "memory of its own");
  }

  // A plan-only call may leave pointers out; those that it gives are judged as a launch would judge them.
  static bool share_memory(const spf_tensor& a, const spf_tensor& b) {
    if (a.data == nullptr || b.data == nullptr) return false;
    return touch(byte_range(a), byte_range(b)) && !are_disjoint_rows(a, b);
  }

  bool overlaps_weight(const spf_tensor& written) const {
    const spf_packed_weight& w = *call_.weight;
    if (written.data == nullptr || w.data == nullptr) return false;
    const auto begin = reinterpret_cast<uintptr_t>(w.data);
    return touch(byte_range(written), {begin, begin + w.bytes});
  }

  static bool touch(ByteRange a, ByteRange b) {
    return a.begin != a.end && b.begin != b.end && a.begin < b.end && b.begin < a.end;
  }

  const OpSchema& schema_;
  const RawCall& raw_;
  Call& call_;
  bool bound_[kMaxSymbols] = {};
  const spf_tensor* lead_owner_ = nullptr;
  const char* lead_name_ = "";
  int lead_count_ = 0;
};

} // namespace

spf_status validate(const OpSchema& schema, const RawCall& raw, Call* call) {
  return Validator(schema, raw, call).run();
}

bool writes_nothing(const Call& call) {
  const OpSchema& op = *call.problem.op;
  for (int i = 0; i < op.operand_count; ++i)
    if (op.operands[i].role != Role::kIn && (call.problem.present >> i & 1u) != 0 && !is_empty(call.operands[i]))
      return false;
  return true;
}

} // namespace spf::ops

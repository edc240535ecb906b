// Dispatch over the floating-point types that activations come in.
#pragma once

#include <type_traits>

#include "spearfish/types.h"

namespace spf {

template <spf_scalar_type T>
using TypeTag = std::integral_constant<spf_scalar_type, T>;

// Calls body(TypeTag<T>{}) for f32, f16 or bf16 and returns true; false for every other type.
template <class Body>
bool with_float_type(spf_scalar_type type, Body&& body) {
  switch (type) {
    case SPF_F32:
      body(TypeTag<SPF_F32>{});
      return true;
    case SPF_F16:
      body(TypeTag<SPF_F16>{});
      return true;
    case SPF_BF16:
      body(TypeTag<SPF_BF16>{});
      return true;
    default:
      return false;
  }
}

} // namespace spf

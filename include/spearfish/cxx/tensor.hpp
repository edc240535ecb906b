// Scalar types and tensor views.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "spearfish/cxx/device.hpp"
#include "spearfish/cxx/error.hpp"
#include "spearfish/tensor.h"
#include "spearfish/types.h"

namespace spearfish {

using ScalarType = spf_scalar_type;
using Shape = std::vector<int64_t>;

// Facts of a scalar type. Throws SPF_INVALID_TYPE for a value outside the enum.
inline spf_scalar_type_info describe(ScalarType type) {
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  check(spf_scalar_type_describe(type, &info));
  return info;
}

inline std::string name(ScalarType type) { return describe(type).name; }

// "bf16" -> SPF_BF16. Throws SPF_NOT_FOUND with the list.
inline ScalarType scalar_type(const std::string& name) {
  ScalarType type = SPF_TYPE_NONE;
  check(spf_scalar_type_from_name(name.c_str(), &type));
  return type;
}

// The scalar type of a C++ type that has one. 16-bit and smaller floats have none: name them.
template <class T>
constexpr ScalarType scalar_type_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return SPF_F32;
  else if constexpr (std::is_same_v<U, int8_t>)
    return SPF_S8;
  else if constexpr (std::is_same_v<U, uint8_t>)
    return SPF_U8;
  else if constexpr (std::is_same_v<U, int32_t>)
    return SPF_I32;
  else if constexpr (std::is_same_v<U, int64_t>)
    return SPF_I64;
  else if constexpr (std::is_same_v<U, bool>)
    return SPF_BOOL;
  else
    return SPF_TYPE_NONE;
}

// A view of memory that someone else owns. Copies are views of the same memory.
class Tensor {
 public:
  // Contiguous (C order). `data` may be NULL where the shape holds a 0, and in plan-only calls. Inputs may be const: an
  // op writes only what its schema calls an output.
  Tensor(const void* data, ScalarType type, const Shape& shape, Device device = Device::cpu()) {
    check(spf_tensor_init(&view_, const_cast<void*>(data), type, static_cast<int32_t>(shape.size()), shape.data(),
                          device));
  }
  // Strided; strides in elements, outermost first.
  Tensor(const void* data, ScalarType type, const Shape& shape, const Shape& strides, Device device = Device::cpu())
      : Tensor(data, type, shape, device) {
    if (strides.size() != shape.size()) throw Error(SPF_INVALID_STRIDE, "tensor: strides must be as many as extents");
    for (size_t i = 0; i < strides.size(); ++i) view_.stride[i] = strides[i];
  }
  explicit Tensor(const spf_tensor& view) : view_(view) {}

  const spf_tensor* get() const noexcept { return &view_; }
  void* data() const noexcept { return view_.data; }
  ScalarType type() const noexcept { return view_.type; }
  Device device() const noexcept { return view_.device; }
  int rank() const noexcept { return view_.rank; }
  int64_t extent(int dim) const { return view_.shape[checked(dim)]; }
  int64_t stride(int dim) const { return view_.stride[checked(dim)]; }
  Shape shape() const { return Shape(view_.shape, view_.shape + view_.rank); }
  Shape strides() const { return Shape(view_.stride, view_.stride + view_.rank); }
  int64_t elements() const noexcept {
    int64_t count = 1;
    for (int i = 0; i < view_.rank; ++i) count *= view_.shape[i];
    return count;
  }
  // Bytes from the first to one past the last element that the view reaches.
  int64_t extent_bytes() const {
    int64_t bytes = 0;
    check(spf_tensor_extent_bytes(&view_, &bytes));
    return bytes;
  }

  // Elements begin .. end - 1 of a dimension. Moves the pointer by whole bytes: for types of 8 bits or more.
  Tensor slice(int dim, int64_t begin, int64_t end) const {
    const int d = checked(dim);
    if (begin < 0 || begin > end || end > view_.shape[d])
      throw Error(SPF_INVALID_SHAPE, "tensor: slice [" + std::to_string(begin) + ", " + std::to_string(end) +
                                         ") of extent " + std::to_string(view_.shape[d]));
    const int bits = describe(view_.type).bits;
    if (view_.packing != SPF_PACKING_NONE) throw Error(SPF_INVALID_ARGUMENT, "tensor: a packed view cannot be sliced");
    Tensor out = *this;
    if (out.view_.data != nullptr) {
      const int64_t bytes = bits < 8 ? 1 : bits / 8;
      out.view_.data = static_cast<char*>(out.view_.data) + begin * view_.stride[d] * bytes;
    }
    out.view_.shape[d] = end - begin;
    return out;
  }

  // The same elements with two dimensions exchanged.
  Tensor transpose(int a, int b) const {
    Tensor out = *this;
    std::swap(out.view_.shape[checked(a)], out.view_.shape[checked(b)]);
    std::swap(out.view_.stride[checked(a)], out.view_.stride[checked(b)]);
    return out;
  }

 private:
  int checked(int dim) const {
    if (dim < 0 || dim >= view_.rank)
      throw Error(SPF_INVALID_ARGUMENT,
                  "tensor: dimension " + std::to_string(dim) + " of a view of rank " + std::to_string(view_.rank));
    return dim;
  }

  spf_tensor view_ = {};
};

// An operand that may be absent: pass a Tensor, or std::nullopt.
using OptionalTensor = std::optional<Tensor>;

// A contiguous view of host memory whose C++ type names the scalar type.
template <class T>
Tensor view(T* data, const Shape& shape) {
  static_assert(scalar_type_of<T>() != SPF_TYPE_NONE, "this C++ type names no scalar type: use the Tensor constructor");
  return Tensor(data, scalar_type_of<T>(), shape);
}

// Borrows a DLPack tensor: valid while `managed` lives.
inline Tensor from_dlpack(const DLManagedTensor* managed) {
  spf_tensor view = {};
  check(spf_tensor_from_dlpack(managed, &view));
  return Tensor(view);
}

// A managed tensor whose deleter frees the header only, never the data.
inline DLManagedTensor* to_dlpack(const Tensor& tensor) {
  DLManagedTensor* managed = nullptr;
  check(spf_tensor_to_dlpack(tensor.get(), &managed));
  return managed;
}

} // namespace spearfish

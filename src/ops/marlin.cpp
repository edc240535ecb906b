// The C functions of spearfish/marlin.h: validate, then hand over to pack.
#include "spearfish/marlin.h"

#include <string>

#include "core/status.hpp"
#include "pack/marlin.hpp"

namespace {

namespace marlin = spf::pack::marlin;

// What the functions have in common to refuse; the first refusal stays.
class Check {
 public:
  explicit Check(const char* op) : op_(op) {}

  Check& pointer(const char* field, const void* value) {
    return need(value != nullptr, SPF_INVALID_ARGUMENT, field, "NULL", "a pointer");
  }
  Check& flag(const char* field, int32_t value) {
    return need(value == 0 || value == 1, SPF_INVALID_ARGUMENT, field, std::to_string(value), "0 or 1");
  }
  Check& count(const char* field, int64_t value) {
    return need(value >= 0, SPF_INVALID_SHAPE, field, std::to_string(value), "0 or more");
  }
  Check& element_bytes(int32_t value) {
    return need(value == 1 || value == 2 || value == 4, SPF_INVALID_ARGUMENT, "element_bytes", std::to_string(value),
                "1, 2 or 4");
  }
  template <class Body>
  spf_status then(const Body& body) const {
    return status_ == SPF_OK ? body() : status_;
  }

 private:
  Check& need(bool holds, spf_status status, const char* field, const std::string& found, const char* allowed) {
    if (!holds && status_ == SPF_OK) status_ = spf::fail(status, op_, "validate", field, found, allowed);
    return *this;
  }
  const char* op_;
  spf_status status_ = SPF_OK;
};

} // namespace

extern "C" {

spf_status spf_gptq_marlin_repack(const int32_t* qweight, const int32_t* perm, int64_t k, int64_t n, int32_t bits,
                                  int32_t act8, int32_t* out) {
  return Check("gptq_marlin_repack").pointer("qweight", qweight).pointer("out", out).flag("act8", act8).then([&] {
    return marlin::gptq_repack(qweight, perm, k, n, bits, act8 != 0, out);
  });
}

spf_status spf_awq_marlin_repack(const int32_t* qweight, int64_t k, int64_t n, int32_t bits, int32_t act8,
                                 int32_t* out) {
  return Check("awq_marlin_repack").pointer("qweight", qweight).pointer("out", out).flag("act8", act8).then([&] {
    return marlin::awq_repack(qweight, k, n, bits, act8 != 0, out);
  });
}

spf_status spf_marlin_int4_fp8_preprocess(const int32_t* qweight, int64_t rows, int64_t words, const int32_t* qzeros,
                                          int64_t groups, int32_t* out) {
  return Check("marlin_int4_fp8_preprocess")
      .pointer("qweight", qweight)
      .pointer("out", out)
      .count("rows", rows)
      .count("words", words)
      .then([&] { return marlin::int4_fp8_preprocess(qweight, rows, words, qzeros, groups, out); });
}

spf_status spf_marlin_permute_scales(const void* scales, int64_t groups, int64_t n, int32_t element_bytes,
                                     int32_t grouped, void* out) {
  return Check("marlin_permute_scales")
      .pointer("scales", scales)
      .pointer("out", out)
      .count("groups", groups)
      .element_bytes(element_bytes)
      .flag("grouped", grouped)
      .then([&] { return marlin::permute_scales(scales, groups, n, element_bytes, grouped != 0, out); });
}

spf_status spf_marlin_permute_bias(const void* bias, int64_t n, int32_t element_bytes, void* out) {
  return Check("marlin_permute_bias").pointer("bias", bias).pointer("out", out).element_bytes(element_bytes).then([&] {
    return marlin::permute_bias(bias, n, element_bytes, out);
  });
}

spf_status spf_marlin_zero_points(const int32_t* codes, int64_t groups, int64_t n, int32_t bits, int32_t act8,
                                  int32_t* out) {
  return Check("marlin_zero_points")
      .pointer("codes", codes)
      .pointer("out", out)
      .count("groups", groups)
      .flag("act8", act8)
      .then([&] { return marlin::pack_zero_points(codes, groups, n, bits, act8 != 0, out); });
}

spf_status spf_awq_marlin_zero_points(const int32_t* qzeros, int64_t groups, int64_t n, int32_t bits, int32_t act8,
                                      int32_t* out) {
  return Check("awq_marlin_zero_points")
      .pointer("qzeros", qzeros)
      .pointer("out", out)
      .count("groups", groups)
      .flag("act8", act8)
      .then([&] { return marlin::awq_zero_points(qzeros, groups, n, bits, act8 != 0, out); });
}

spf_status spf_marlin_int8_scales(const uint16_t* scales, int64_t count, int16_t* out, float* factor) {
  return Check("marlin_int8_scales")
      .pointer("scales", scales)
      .pointer("out", out)
      .pointer("factor", factor)
      .count("count", count)
      .then([&] {
        *factor = marlin::int8_activation_scales(scales, count, out);
        return SPF_OK;
      });
}

spf_status spf_marlin_nvfp4_scales(const uint16_t* scales, int64_t groups, int64_t n, uint8_t* out) {
  return Check("marlin_nvfp4_scales").pointer("scales", scales).pointer("out", out).count("groups", groups).then([&] {
    return marlin::nvfp4_scales(scales, groups, n, out);
  });
}

spf_status spf_marlin_mxfp4_scales(const uint8_t* scales, int64_t groups, int64_t n, int32_t act8, uint8_t* out) {
  return Check("marlin_mxfp4_scales")
      .pointer("scales", scales)
      .pointer("out", out)
      .count("groups", groups)
      .flag("act8", act8)
      .then([&] { return marlin::mxfp4_scales(scales, groups, n, act8 != 0, out); });
}

} // extern "C"

// Views: types, strides, leading dimensions, broadcast rows; and calls that are refused.
#include "problem.hpp"

using namespace linear_test;

namespace {

TEST(Views, EveryTypeOfXBiasAndOut) {
  const spf_scalar_type types[] = {SPF_F32, SPF_F16, SPF_BF16};
  for (const char* name : {"int4-g128", "fp8-block", "f32"}) {
    Weight weight(scheme_named(name), 35, 264);
    for (const spf_scalar_type tx : types)
      for (const spf_scalar_type tb : types)
        for (const spf_scalar_type to : types) {
          const Matrix x = Matrix::normal(tx, 6, weight.k, 1, 9), bias = Matrix::normal(tb, 1, weight.n, 2);
          for (const Kernel& kernel : kernels()) {
            Matrix out(to, 6, weight.n, 7);
            if (!run(kernel, weight, x, &bias, out).empty()) continue;
            expect_close(kernel, weight, x, &bias, out, name);
            EXPECT_TRUE(out.gaps_untouched()) << kernel.name;
          }
        }
  }
}

class LinearCall : public testing::Test {
 protected:
  LinearCall() : weight(scheme_named("int4-g32"), 21, 96), x(Matrix::normal(SPF_F32, 12, 96, 1)), out(SPF_F32, 12, 21) {
    spf_launch_init(&launch, {SPF_CPU, 0});
    launch.workspace = memory.data();
    launch.workspace_bytes = memory.size();
  }

  spf_status call(const spf_tensor& x_view, const spf_tensor& out_view) {
    return spf_linear(&x_view, &weight.packed("cpu_n16"), nullptr, &out_view, &launch);
  }

  Weight weight;
  Matrix x, out;
  support::AlignedBytes memory{size_t{1} << 22};
  spf_launch launch;
};

spf_tensor shaped(spf_tensor t, std::vector<int64_t> shape, std::vector<int64_t> stride) {
  t.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape);
  std::copy(stride.begin(), stride.end(), t.stride);
  return t;
}

TEST_F(LinearCall, LeadingDimensionsMayStandInAnyOrder) {
  Matrix plain(SPF_F32, 12, 21);
  ASSERT_EQ(call(x.view(), plain.view()), SPF_OK);
  // [2,3,2] leading dimensions; x read transposed: row (a, b, c) is row 6c + 2b + a of x.
  ASSERT_EQ(call(shaped(x.view(), {2, 3, 2, 96}, {96, 2 * 96, 6 * 96, 1}),
                 shaped(out.view(), {2, 3, 2, 21}, {126, 42, 21, 1})),
            SPF_OK);
  for (int64_t a = 0; a < 2; ++a)
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t c = 0; c < 2; ++c)
        for (int64_t n = 0; n < 21; ++n) EXPECT_EQ(out.at(6 * a + 2 * b + c, n), plain.at(6 * c + 2 * b + a, n));
}

TEST_F(LinearCall, OneRowMayBeReadForAll) {
  ASSERT_EQ(call(shaped(x.view(), {12, 96}, {0, 1}), out.view()), SPF_OK);
  for (int64_t m = 1; m < 12; ++m)
    for (int64_t n = 0; n < 21; ++n) EXPECT_EQ(out.at(m, n), out.at(0, n));
}

TEST_F(LinearCall, VectorsHaveNoLeadingDimension) {
  ASSERT_EQ(call(shaped(x.view(), {96}, {1}), shaped(out.view(), {21}, {1})), SPF_OK);
  EXPECT_NE(out.at(0, 0), 0);
}

TEST_F(LinearCall, RefusesWhatItCannotDo) {
  EXPECT_EQ(call(shaped(x.view(), {12, 95}, {96, 1}), out.view()), SPF_INVALID_SHAPE);
  EXPECT_EQ(call(shaped(x.view(), {12, 96}, {1, 12}), out.view()), SPF_INVALID_STRIDE);
  EXPECT_EQ(call(x.view(), shaped(out.view(), {11, 21}, {21, 1})), SPF_INVALID_SHAPE);
  EXPECT_EQ(call(x.view(), shaped(out.view(), {12, 21}, {20, 1})), SPF_INVALID_STRIDE);
  launch.workspace_bytes = 16;
  EXPECT_EQ(call(x.view(), out.view()), SPF_WORKSPACE_TOO_SMALL);
  spf_packed_weight header = weight.packed("cpu_n16");
  header.scales_offset += 256;
  const spf_tensor xv = x.view(), ov = out.view();
  EXPECT_EQ(spf_linear(&xv, &header, nullptr, &ov, &launch), SPF_CORRUPT_DATA);
  EXPECT_EQ(spf_linear(&xv, nullptr, nullptr, &ov, &launch), SPF_INVALID_ARGUMENT);
}

TEST_F(LinearCall, EightBitActivationsNeedPermission) {
  spf_plan_options options = {};
  options.struct_size = sizeof options;
  options.require_kernel = "avx2_s8";
  launch.options = &options;
  EXPECT_EQ(call(x.view(), out.view()), SPF_REQUIREMENT_UNMET);
}

} // namespace

// Every check of src/ops/validate.cpp: what passes, and what each refusal says.
#include "core/constraint.hpp"
#include "ops/view.hpp"
#include "pack/layout.hpp"
#include "support.hpp"

namespace spf::test {
namespace {

class Gated : public Validation {
 protected:
  void SetUp() override {
    schema = gated_schema();
    operands = {tensor(x, SPF_F32, {2, 3, 8}), tensor(w, SPF_F32, {4}), tensor(index, SPF_I32, {4}),
                tensor(out, SPF_F32, {2, 3, 4})};
    present = {true, true, true, true};
  }
  spf_tensor& X() { return operands[0]; }
  spf_tensor& W() { return operands[1]; }
  spf_tensor& Index() { return operands[2]; }
  spf_tensor& Out() { return operands[3]; }

  alignas(64) float x[256] = {};
  alignas(64) float w[16] = {};
  alignas(64) int32_t index[16] = {};
  alignas(64) float out[256] = {};
};

TEST_F(Gated, AValidCallBecomesAProblem) {
  ASSERT_EQ(validate(), SPF_OK);
  const Problem& p = call.problem;
  EXPECT_EQ(p.op, &schema);
  EXPECT_EQ(p.extent("*"), 6);
  EXPECT_EQ(p.extent("D"), 4);
  EXPECT_EQ(p.extent("H"), 0);
  EXPECT_EQ(p.type("T"), SPF_F32);
  EXPECT_EQ(p.type("I"), SPF_I32);
  EXPECT_EQ(p.type("U"), SPF_TYPE_NONE);
  EXPECT_EQ(p.present, 0b1111u);
  EXPECT_TRUE(p.has("w"));
  EXPECT_FALSE(p.has("bias"));
  EXPECT_TRUE(p.is_contiguous("x"));
  EXPECT_TRUE(p.is_aligned16("x"));
  EXPECT_FALSE(p.is_contiguous("nothing"));
  EXPECT_FALSE(p.is_aligned16("nothing"));
  EXPECT_EQ(p.param("scale"), 1.0);
  EXPECT_EQ(p.param("count"), 2.0);
  EXPECT_EQ(p.param("nothing"), 0.0);
  ASSERT_NE(call.operand("out"), nullptr);
  EXPECT_EQ(call.operand("out")->data, out);
  EXPECT_EQ(call.param("flag"), 0.0);
}

TEST_F(Gated, AnOptionalOperandMayBeAbsent) {
  present[1] = false;
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_EQ(call.problem.present, 0b1101u);
  EXPECT_EQ(call.operand("w"), nullptr);
  EXPECT_FALSE(call.problem.is_contiguous("w"));
}

TEST_F(Gated, ARequiredOperandMayNot) {
  present[3] = false;
  expect_refused(SPF_INVALID_ARGUMENT, "out", "NULL", "a tensor");
}

TEST_F(Gated, OperandCount) {
  operands.pop_back();
  expect_refused(SPF_INVALID_ARGUMENT, "operand_count", "3", "4");
  operands.clear();
  expect_refused(SPF_INVALID_ARGUMENT, "operand_count", "0", "4");
}

TEST_F(Gated, StructSizeOfATensor) {
  W().struct_size = sizeof(spf_tensor) - 1;
  expect_refused(SPF_ABI_MISMATCH, "w.struct_size", std::to_string(sizeof(spf_tensor) - 1), "at least");
  W().struct_size = sizeof(spf_tensor) + 64; // a newer header
  EXPECT_EQ(validate(), SPF_OK);
}

// --- types ---------------------------------------------------------------------------------------------------------

TEST_F(Gated, TypeOutsideTheOpsList) {
  X().type = SPF_F16;
  expect_refused(SPF_INVALID_TYPE, "x.type", "f16", "f32, bf16");
  X().type = SPF_TYPE_NONE;
  expect_refused(SPF_INVALID_TYPE, "x.type", "0", "f32, bf16");
  X().type = static_cast<spf_scalar_type>(SPF_TYPE_COUNT + 40);
  expect_refused(SPF_INVALID_TYPE, "x.type", "57", "f32, bf16");
  X().type = static_cast<spf_scalar_type>(-1);
  EXPECT_EQ(validate(), SPF_INVALID_TYPE);
}

TEST_F(Gated, OneVariableOneType) {
  Out().type = SPF_BF16;
  expect_refused(SPF_INVALID_TYPE, "out.type", "bf16", "f32 as in the other operands");
}

TEST_F(Gated, PackingIsRefused) {
  X().packing = SPF_PACKING_LOW_FIRST;
  expect_refused(SPF_INVALID_ARGUMENT, "x.packing", "1", "SPF_PACKING_NONE");
}

// --- devices -------------------------------------------------------------------------------------------------------

TEST_F(Gated, EveryOperandLiesOnTheLaunchDevice) {
  W().device = {SPF_CUDA, 1};
  expect_refused(SPF_INVALID_DEVICE, "w.device", "cuda:1", "cpu:0");
  W().device = {SPF_CPU, 1};
  expect_refused(SPF_INVALID_DEVICE, "w.device", "cpu:1", "cpu:0");
  W().device = {SPF_HIP, 0};
  expect_refused(SPF_INVALID_DEVICE, "w.device", "hip:0", "cpu:0");
}

// --- shapes --------------------------------------------------------------------------------------------------------

TEST_F(Gated, Rank) {
  X().rank = 0;
  expect_refused(SPF_INVALID_SHAPE, "x.rank", "0", "1 to 6");
  X().rank = SPF_MAX_RANK + 1;
  expect_refused(SPF_INVALID_SHAPE, "x.rank", "7", "1 to 6");
  X().rank = -1;
  expect_refused(SPF_INVALID_SHAPE, "x.rank", "-1", "1 to 6");
}

TEST_F(Gated, RankWithoutLeadingDimensionsIsExact) {
  W().rank = 2;
  expect_refused(SPF_INVALID_SHAPE, "w.rank", "2", "1");
}

TEST_F(Gated, NegativeExtent) {
  X().shape[1] = -3;
  expect_refused(SPF_INVALID_SHAPE, "x.shape[1]", "-3", "0 or more");
}

TEST_F(Gated, ElementCountOverflows) {
  X().shape[0] = int64_t{1} << 40;
  X().shape[1] = int64_t{1} << 40;
  expect_refused(SPF_INVALID_SHAPE, "x.shape", "[1099511627776, 1099511627776, 8]", "fewer than 2^63 elements");
  // A zero does not hide it.
  X().shape[2] = 0;
  EXPECT_EQ(validate(), SPF_INVALID_SHAPE);
}

TEST_F(Gated, FactorsDivide) {
  X().shape[2] = 7;
  expect_refused(SPF_INVALID_SHAPE, "x.shape[2]", "7", "a multiple of 2");
}

TEST_F(Gated, SymbolsAgree) {
  W().shape[0] = 5;
  expect_refused(SPF_INVALID_SHAPE, "w.shape[0]", "5", "D = 4 as in the other operands");
  W().shape[0] = 4;
  Out().shape[2] = 3;
  expect_refused(SPF_INVALID_SHAPE, "out.shape[2]", "3", "D = 4");
}

TEST_F(Gated, ConstantExtent) {
  Index().shape[0] = 3;
  expect_refused(SPF_INVALID_SHAPE, "index.shape[0]", "3", "4");
}

TEST_F(Gated, LeadingDimensionsAgreeOneByOne) {
  Out() = tensor(out, SPF_F32, {3, 2, 4}); // same product
  expect_refused(SPF_INVALID_SHAPE, "out.shape", "[3, 2, 4]", "leading dimensions [2, 3] as in x");
  Out() = tensor(out, SPF_F32, {6, 4});
  expect_refused(SPF_INVALID_SHAPE, "out.shape", "[6, 4]", "leading dimensions [2, 3] as in x");
}

TEST_F(Gated, NoLeadingDimensionsAtAll) {
  X() = tensor(x, SPF_F32, {8});
  Out() = tensor(out, SPF_F32, {4});
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_EQ(call.problem.extent("*"), 1);
}

TEST_F(Gated, EmptyIsLegal) {
  X() = tensor(nullptr, SPF_F32, {0, 8});
  Out() = tensor(nullptr, SPF_F32, {0, 4});
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_EQ(call.problem.extent("*"), 0);
  EXPECT_TRUE(ops::writes_nothing(call));
  // No element, no gap: whatever the strides say, it is contiguous.
  EXPECT_TRUE(call.problem.is_contiguous("x"));
  X() = tensor(x, SPF_F32, {2, 0});
  W() = tensor(nullptr, SPF_F32, {0});
  Out() = tensor(out, SPF_F32, {2, 0});
  X().stride[0] = -5; // nothing is reached through it
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_TRUE(call.problem.is_contiguous("x"));
  EXPECT_TRUE(ops::writes_nothing(call));
}

TEST_F(Gated, SomethingToWriteIsSeen) {
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_FALSE(ops::writes_nothing(call));
}

// --- strides -------------------------------------------------------------------------------------------------------

TEST_F(Gated, RowsMayBePaddedTransposedOrBroadcast) {
  X() = strided(x, SPF_F32, {2, 3, 8}, {40, 12, 1});
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_FALSE(call.problem.is_contiguous("x"));
  EXPECT_TRUE(call.problem.is_aligned16("x"));
  X() = strided(x, SPF_F32, {2, 3, 8}, {8, 16, 1}); // leading dimensions exchanged
  EXPECT_EQ(validate(), SPF_OK);
  X() = strided(x, SPF_F32, {2, 3, 8}, {0, 0, 1}); // one row for all
  EXPECT_EQ(validate(), SPF_OK);
  X() = strided(x, SPF_F32, {2, 3, 8}, {41, 13, 1});
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_FALSE(call.problem.is_aligned16("x"));
}

TEST_F(Gated, LastDimensionOfRowsIsContiguous) {
  X() = strided(x, SPF_F32, {2, 3, 8}, {48, 16, 2});
  expect_refused(SPF_INVALID_STRIDE, "x.stride[2]", "2", "1: the last dimension must be contiguous");
  X() = strided(x, SPF_F32, {2, 3, 8}, {8, 8, 0});
  EXPECT_EQ(validate(), SPF_INVALID_STRIDE);
}

TEST_F(Gated, AStrideThatIsNeverStepped) {
  W() = tensor(w, SPF_F32, {1});
  W().stride[0] = 77;
  X() = tensor(x, SPF_F32, {2, 3, 2});
  Out() = strided(out, SPF_F32, {2, 3, 1}, {3, 1, 99});
  EXPECT_EQ(validate(), SPF_OK);
}

TEST_F(Gated, NegativeStride) {
  X().stride[1] = -8;
  expect_refused(SPF_INVALID_STRIDE, "x.stride[1]", "-8", "0 or more");
}

TEST_F(Gated, ReachOverflows) {
  X().stride[0] = int64_t{1} << 61;
  expect_refused(SPF_INVALID_STRIDE, "x.stride[0]", std::to_string(int64_t{1} << 61),
                 "a view of fewer than 2^59 elements");
  X().stride[0] = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(validate(), SPF_INVALID_STRIDE);
  X().stride[0] = (int64_t{1} << 59) - 100;
  X().stride[1] = int64_t{1} << 58; // each fits, the sum does not
  EXPECT_EQ(validate(), SPF_INVALID_STRIDE);
}

TEST_F(Gated, StridesBeyondTheRangeOf32BitsAreLegal) {
  plan_only = true;
  X() = strided(nullptr, SPF_F32, {2, 3, 8}, {int64_t{1} << 40, int64_t{1} << 33, 1});
  EXPECT_EQ(validate(), SPF_OK);
}

TEST_F(Gated, ContiguousMeansContiguous) {
  W().stride[0] = 2;
  expect_refused(SPF_INVALID_STRIDE, "w.stride", "[2]", "a contiguous view");
}

TEST_F(Gated, OutputsMustNotOverlapThemselves) {
  Out().stride[0] = 0;
  expect_refused(SPF_INVALID_STRIDE, "out.stride", "[0, 4, 1]", "no two elements share memory");
  Out() = strided(out, SPF_F32, {2, 3, 4}, {11, 4, 1}); // row 2 of matrix 0 runs into matrix 1
  EXPECT_EQ(validate(), SPF_INVALID_STRIDE);
  Out() = strided(out, SPF_F32, {2, 3, 4}, {12, 4, 1});
  EXPECT_EQ(validate(), SPF_OK);
}

// --- pointers ------------------------------------------------------------------------------------------------------

TEST_F(Gated, NullPointerWithElements) {
  X().data = nullptr;
  expect_refused(SPF_INVALID_ARGUMENT, "x.data", "NULL", "a pointer to the first element");
  plan_only = true;
  EXPECT_EQ(validate(), SPF_OK);
}

TEST_F(Gated, AlignmentIsThatOfOneElement) {
  X().data = reinterpret_cast<char*>(x) + 2;
  expect_refused(SPF_INVALID_ALIGNMENT, "x.data", "not aligned", "a multiple of 4 bytes");
  X().data = x + 1;
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_FALSE(call.problem.is_aligned16("x"));
}

// --- parameters ----------------------------------------------------------------------------------------------------

TEST_F(Gated, ParameterCount) {
  params = {1.0, 2.0};
  expect_refused(SPF_INVALID_ARGUMENT, "param_count", "2", "3");
}

TEST_F(Gated, ParametersAreTaken) {
  params = {0.25, 8, 1};
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_EQ(call.param("scale"), 0.25);
  EXPECT_EQ(call.param("count"), 8.0);
  EXPECT_EQ(call.param("flag"), 1.0);
}

TEST_F(Gated, ParametersOutsideTheirRange) {
  params = {-0.5, 2, 0};
  expect_refused(SPF_INVALID_ARGUMENT, "scale", "-0.5", "0 or more");
  params = {std::numeric_limits<double>::quiet_NaN(), 2, 0};
  expect_refused(SPF_INVALID_ARGUMENT, "scale", "nan", "0 or more");
  params = {1, 9, 0};
  expect_refused(SPF_INVALID_ARGUMENT, "count", "9", "an integer from 0 to 8");
  params = {1, 2.5, 0};
  expect_refused(SPF_INVALID_ARGUMENT, "count", "2.5", "an integer from 0 to 8");
  params = {1, 2, 0.5};
  expect_refused(SPF_INVALID_ARGUMENT, "flag", "0.5", "0 or 1");
  params = {1, 2, 2};
  expect_refused(SPF_INVALID_ARGUMENT, "flag", "2", "0 or 1");
  params = {1e-9, 2, 0}; // small values are not rounded away in the message
  EXPECT_EQ(validate(), SPF_OK);
  params = {-1e-9, 2, 0};
  expect_refused(SPF_INVALID_ARGUMENT, "scale", "-1e-09", "0 or more");
}

TEST_F(Gated, NoPackedWeightIsTaken) {
  spf_packed_weight given = {};
  given.struct_size = sizeof given;
  weight = &given;
  expect_refused(SPF_INVALID_ARGUMENT, "weight", "given", "NULL: this op takes no packed weight");
}

// --- constraints ---------------------------------------------------------------------------------------------------

TEST_F(Gated, AConstraintIsAskedAndItsFieldSaysWhatKindOfErrorItIs) {
  schema.constraint = [](const Problem& p) -> Violation {
    if (p.extent("D") % 4 != 0) return {"x.shape[2]", std::to_string(2 * p.extent("D")), "a multiple of 8"};
    if (p.param("count") == 3) return {"count", "3", "an even number"};
    if (p.type("T") == SPF_BF16 && p.has("w")) return {"w.type", "bf16", "f32"};
    return {};
  };
  EXPECT_EQ(validate(), SPF_OK);
  params = {1, 3, 0};
  expect_refused(SPF_INVALID_ARGUMENT, "count", "3", "an even number");
  params = {};
  X() = tensor(x, SPF_F32, {2, 3, 4});
  W() = tensor(w, SPF_F32, {2});
  Out() = tensor(out, SPF_F32, {2, 3, 2});
  expect_refused(SPF_INVALID_SHAPE, "x.shape[2]", "4", "a multiple of 8");
  X() = tensor(x, SPF_BF16, {2, 3, 8});
  W() = tensor(w, SPF_BF16, {4});
  Out() = tensor(out, SPF_BF16, {2, 3, 4});
  expect_refused(SPF_INVALID_TYPE, "w.type", "bf16", "f32");
  plan_only = true;
  EXPECT_EQ(validate(), SPF_INVALID_TYPE) << "plans are asked the same";
}

// --- overlap -------------------------------------------------------------------------------------------------------

TEST_F(Gated, AnOutputMustNotOverlapAnInput) {
  Out().data = x;
  expect_refused(SPF_INVALID_ARGUMENT, "out", "a view that overlaps x", "memory of its own");
  Out().data = w;
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
  Out().data = x + 44; // the last elements of x
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
  Out().data = x + 48; // right behind x
  EXPECT_EQ(validate(), SPF_OK);
}

TEST_F(Gated, OverlapIsJudgedInPlanOnlyCallsToo) {
  plan_only = true;
  Out().data = x;
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
  Out().data = nullptr;
  EXPECT_EQ(validate(), SPF_OK);
}

TEST_F(Gated, ColumnSlicesOfOneBufferDoNotOverlap) {
  X() = strided(x, SPF_F32, {2, 3, 8}, {36, 12, 1});
  Out() = strided(x + 8, SPF_F32, {2, 3, 4}, {36, 12, 1});
  EXPECT_EQ(validate(), SPF_OK);
  Out().data = x + 7; // one column too early
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
  Out().data = x + 9; // the last column runs into the next row of x
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
}

class InPlace : public Validation {
 protected:
  void SetUp() override {
    schema = in_place_schema();
    operands = {tensor(a, SPF_F32, {3, 4}), tensor(b, SPF_F32, {3, 4}), tensor(c, SPF_F32, {4})};
    present = {true, true, true};
  }
  spf_tensor& Y() { return operands[0]; }
  spf_tensor& X() { return operands[1]; }
  spf_tensor& Bias() { return operands[2]; }

  float a[64] = {}, b[64] = {}, c[64] = {};
};

TEST_F(InPlace, TheVerySameViewIsAllowed) {
  X().data = a;
  EXPECT_EQ(validate(), SPF_OK);
  X().data = a + 1;
  expect_refused(SPF_INVALID_ARGUMENT, "x", "a view that overlaps y", "the very same view, or memory of its own");
  X() = strided(a, SPF_F32, {3, 4}, {1, 3}); // same memory, other order
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
}

TEST_F(InPlace, TwoWrittenOperandsMustNotBeTheSame) {
  schema.operands[0].role = Role::kInOut;
  X().data = a;
  expect_refused(SPF_INVALID_ARGUMENT, "y", "a view that overlaps x", "memory of its own");
}

TEST_F(InPlace, InPlaceIsForOperandsOfTheSameShapeInTheSchema) {
  // bias[H] and x[H] without leading dimensions are the same view here, and different things to the op.
  Y() = tensor(a, SPF_F32, {4});
  X() = tensor(c, SPF_F32, {4});
  Bias() = X();
  expect_refused(SPF_INVALID_ARGUMENT, "x", "a view that overlaps bias", "memory of its own");
}

TEST_F(InPlace, InterleavedElementsOfOneBufferAreNotColumnSlices) {
  // Even elements are read, odd ones written: the bytes between first and last are shared, no element is. Refused by
  // name, because only last dimensions without gaps are understood.
  Y() = strided(a, SPF_F32, {3, 4}, {16, 2});
  X() = strided(a + 1, SPF_F32, {3, 4}, {16, 2});
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
  // Here an element is shared: y[0][3] is x[0][1].
  Y() = strided(a, SPF_F32, {3, 4}, {16, 2});
  X() = strided(a + 4, SPF_F32, {3, 4}, {16, 2});
  EXPECT_EQ(validate(), SPF_INVALID_ARGUMENT);
}

TEST_F(InPlace, MatricesThatAlternateInOneBufferDoNotOverlap) {
  // buffer[2 batches][2][2 rows][4]: y is [:, 0], x is [:, 1].
  Y() = strided(a, SPF_F32, {2, 2, 4}, {16, 4, 1});
  X() = strided(a + 8, SPF_F32, {2, 2, 4}, {16, 4, 1});
  EXPECT_EQ(validate(), SPF_OK);
  // The other way round, and with the dimensions exchanged.
  std::swap(Y().data, X().data);
  EXPECT_EQ(validate(), SPF_OK);
  Y() = strided(a + 8, SPF_F32, {2, 2, 4}, {4, 16, 1});
  X() = strided(a, SPF_F32, {2, 2, 4}, {4, 16, 1});
  EXPECT_EQ(validate(), SPF_OK);
}

TEST_F(InPlace, HeadsOfOneFusedRowDoNotOverlap) {
  // buffer[3 tokens][4 + 2 heads][2]: the first four heads and the last two, seen as [tokens, heads, 2].
  const spf_tensor query = strided(a, SPF_F32, {3, 4, 2}, {12, 2, 1});
  EXPECT_TRUE(ops::are_disjoint_rows(query, strided(a + 8, SPF_F32, {3, 2, 2}, {12, 2, 1})));
  EXPECT_FALSE(ops::are_disjoint_rows(query, strided(a + 6, SPF_F32, {3, 2, 2}, {12, 2, 1})));
  EXPECT_FALSE(ops::are_disjoint_rows(query, strided(a + 9, SPF_F32, {3, 2, 2}, {12, 2, 1})))
      << "runs into the next row";
  EXPECT_TRUE(ops::are_disjoint_rows(query, strided(a + 8, SPF_F32, {3, 4}, {12, 1}))) << "of another rank";
  EXPECT_FALSE(ops::are_disjoint_rows(query, strided(a + 8, SPF_F32, {2, 2, 2}, {12, 2, 1}))) << "other extents";
}

// Against an exhaustive look at every byte, over all small offsets and nests.
TEST_F(InPlace, OverlapAgreesWithACountOfBytes) {
  int refused = 0, accepted = 0;
  for (int64_t outer : {8, 12, 13, 20})
    for (int64_t inner : {2, 3, 4, 5})
      for (int64_t offset = 0; offset <= 40; ++offset) {
        Y() = strided(a, SPF_F32, {2, 2, 2}, {outer, inner, 1});
        X() = strided(a + offset, SPF_F32, {2, 2, 2}, {outer, inner, 1});
        Bias() = tensor(c, SPF_F32, {2});
        bool shared = false;
        std::vector<int> touched(128);
        for (const spf_tensor* t : {&Y(), &X()})
          for (int64_t i = 0; i < 2; ++i)
            for (int64_t j = 0; j < 2; ++j)
              for (int64_t k = 0; k < 2; ++k) {
                const auto at = static_cast<size_t>(static_cast<float*>(t->data) - a + i * outer + j * inner + k);
                shared |= ++touched[at] > 1;
              }
        const bool ok = validate() == SPF_OK;
        EXPECT_EQ(ok, !shared || offset == 0) << outer << " " << inner << " " << offset;
        ++(ok ? accepted : refused);
      }
  EXPECT_GT(refused, 50);
  EXPECT_GT(accepted, 50);
}

class Linear : public Validation {
 protected:
  void SetUp() override {
    schema = linear_schema();
    operands = {tensor(x, SPF_F32, {2, 6}), tensor(out, SPF_F32, {2, 4})};
    present = {true, true};
    describe(4, 6);
    weight = &packed;
  }
  // The header of f32 weights in layout "reference".
  void describe(int64_t n, int64_t k) {
    spf_quant_scheme scheme = {};
    scheme.struct_size = sizeof scheme;
    ASSERT_EQ(spf_quant_scheme_by_name("f32", &scheme), SPF_OK);
    ASSERT_EQ(pack::describe(scheme, "reference", n, k, "test", &packed), SPF_OK);
    ASSERT_LE(packed.bytes, sizeof bytes);
    packed.data = bytes;
  }
  float x[32] = {}, out[32] = {};
  alignas(256) unsigned char bytes[512] = {};
  spf_packed_weight packed = {};
};

TEST_F(Linear, WeightBindsNAndK) {
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_EQ(call.problem.extent("N"), 4);
  EXPECT_EQ(call.problem.extent("K"), 6);
  EXPECT_STREQ(call.problem.layout, "reference");
  EXPECT_EQ(call.weight, &packed);
  describe(4, 5);
  expect_refused(SPF_INVALID_SHAPE, "x.shape[1]", "6", "K = 5");
  describe(3, 6);
  expect_refused(SPF_INVALID_SHAPE, "out.shape[1]", "4", "N = 3");
}

TEST_F(Linear, WeightIsNeeded) {
  weight = nullptr;
  expect_refused(SPF_INVALID_ARGUMENT, "weight", "NULL", "a packed weight");
}

TEST_F(Linear, WeightHeader) {
  packed.struct_size = 8;
  expect_refused(SPF_ABI_MISMATCH, "weight.struct_size", "8", "at least");
  packed.struct_size = sizeof packed;
  packed.n = -1;
  expect_refused(SPF_INVALID_SHAPE, "weight", "[-1, 6]", "0 or more");
  packed.n = 4;
  packed.device = {SPF_CUDA, 0};
  expect_refused(SPF_INVALID_DEVICE, "weight.device", "cuda:0", "cpu:0");
  packed.device = kCpu;
  packed.data = bytes + 16;
  expect_refused(SPF_INVALID_ALIGNMENT, "weight.data", "not aligned", "256");
  packed.data = nullptr;
  expect_refused(SPF_INVALID_ARGUMENT, "weight.data", "NULL", "spf_pack");
  packed.data = bytes;
  packed.layout[0] = '\0';
  expect_refused(SPF_INVALID_ARGUMENT, "weight.layout", "''", "spf_pack");
  std::fill(std::begin(packed.layout), std::end(packed.layout), 'x'); // no end
  expect_refused(SPF_INVALID_ARGUMENT, "weight.layout", "32 characters without an end", "spf_pack");
}

TEST_F(Linear, AHeaderThatSpfPackDidNotWrite) {
  const spf_packed_weight good = packed;
  const auto corrupt = [&](const char* field, const auto& change) {
    packed = good;
    change(packed);
    EXPECT_EQ(validate(), SPF_CORRUPT_DATA) << field;
    EXPECT_STREQ(last_error().field, field);
  };
  corrupt("packed.layout_version", [](spf_packed_weight& w) { ++w.layout_version; });
  corrupt("packed.padded_n", [](spf_packed_weight& w) { w.padded_n += 16; });
  corrupt("packed.padded_k", [](spf_packed_weight& w) { --w.padded_k; });
  corrupt("packed.bytes", [](spf_packed_weight& w) { --w.bytes; });
  corrupt("packed.scales_offset", [](spf_packed_weight& w) { w.scales_offset = 64; });
  corrupt("packed.zeros_offset", [](spf_packed_weight& w) { w.zeros_offset = 64; });
  corrupt("packed.g_idx_offset", [](spf_packed_weight& w) { w.g_idx_offset = 64; });
  corrupt("packed.global_offset", [](spf_packed_weight& w) { w.global_offset = 64; });
  packed = good;
  std::snprintf(packed.layout, sizeof packed.layout, "no_layout");
  EXPECT_EQ(validate(), SPF_NOT_FOUND);
  packed = good;
  packed.scheme.struct_size = 0;
  EXPECT_EQ(validate(), SPF_ABI_MISMATCH);
}

TEST_F(Linear, APlanNeedsNeitherDataNorLayout) {
  plan_only = true;
  packed.data = nullptr;
  packed.layout[0] = '\0';
  ASSERT_EQ(validate(), SPF_OK);
  EXPECT_STREQ(call.problem.layout, "");
}

TEST_F(Linear, APlanStillNeedsASchemeAndAKnownLayout) {
  plan_only = true;
  packed.data = nullptr;
  EXPECT_EQ(validate(), SPF_OK);
  std::snprintf(packed.layout, sizeof packed.layout, "no_layout");
  EXPECT_EQ(validate(), SPF_NOT_FOUND);
  packed.layout[0] = '\0';
  packed.scheme.format = SPF_FORMAT_NONE;
  EXPECT_NE(validate(), SPF_OK);
  packed.scheme = {};
  EXPECT_EQ(validate(), SPF_ABI_MISMATCH);
}

TEST_F(Linear, XAndOutMustNotBeTheSameView) {
  // N == K makes x and out look alike; every output still reads all of its row of x.
  describe(6, 6);
  operands[1] = operands[0];
  expect_refused(SPF_INVALID_ARGUMENT, "out", "a view that overlaps x", "memory of its own");
}

TEST_F(Linear, TheOutputMustNotOverlapTheWeight) {
  operands[1].data = bytes + 16;
  expect_refused(SPF_INVALID_ARGUMENT, "out", "a view that overlaps weight", "memory of its own");
}

} // namespace
} // namespace spf::test

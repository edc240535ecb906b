// Reading case files, and the engine's own arithmetic: shapes, random numbers, buffers, comparison.
#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "check/compare.hpp"
#include "check/op.hpp"
#include "driver.hpp"

namespace spf::drivers {
namespace {

std::string refusal(const char* toml) {
  try {
    (void)check::parse_cases(toml, "file");
  } catch (const check::UsageError& e) {
    return e.what();
  }
  return "";
}

TEST(cases, EachMultiplies) {
  const auto cases = check::parse_cases(R"(
[[case]]
op     = { each = ["rms_norm", "layer_norm"] }
types  = { T = { each = ["f32", "bf16"] } }
dims   = { "*" = { each = [[], [2, 3], [0]] }, H = { each = [1, 8] } }
params = { epsilon = 1e-5 }
)",
                                        "file");
  ASSERT_EQ(cases.size(), 2u * 2 * 3 * 2);
  std::set<std::string> names;
  for (const Case& c : cases) names.insert(c.op + " " + c.name());
  EXPECT_EQ(names.size(), cases.size()) << "names are unique";
  EXPECT_TRUE(names.contains("layer_norm bf16 [2x3] H=8 epsilon=1e-05"));
}

TEST(cases, RefusalsNameTheRowAndTheKey) {
  EXPECT_NE(refusal("[[case]]\nop = 'rms_norm'\ndim = {}").find("file:1: unknown key 'dim'"), std::string::npos);
  EXPECT_NE(refusal("[[case]]\nop = 'rms_nrm'").find("no op is called 'rms_nrm'"), std::string::npos);
  EXPECT_NE(refusal("[[case]]\nop = 'rms_norm'\ndims = { H = -1 }").find("'H' must be an extent"), std::string::npos);
  EXPECT_NE(refusal("[[case]]\nop = 'rms_norm'\nbench = 1").find("'bench' must be true or false"), std::string::npos);
  EXPECT_NE(refusal("[[case]\nop").find("file:1"), std::string::npos);
}

TEST(cases, EveryCaseOfTheTreeMakesAProblem) {
  const auto cases = check::embedded_cases({});
  EXPECT_GT(cases.size(), 100u);
  std::set<std::string> covered;
  for (const Case& c : cases) {
    EXPECT_NO_THROW((void)check::make_problem(c)) << c.op << " " << c.name();
    covered.insert(c.op);
  }
  for (const Op& op : check::ops()) EXPECT_TRUE(covered.contains(op.name)) << op.name << " has no case";
  EXPECT_THROW((void)check::embedded_cases({"no_such_family"}), check::UsageError);
}

TEST(cases, ShapesParse) {
  const auto dims = check::parse_shape("*,2*D,16");
  ASSERT_EQ(dims.size(), 3u);
  EXPECT_TRUE(dims[0].leading);
  EXPECT_EQ(dims[1].symbol, "D");
  EXPECT_EQ(dims[1].factor, 2);
  EXPECT_TRUE(dims[2].symbol.empty());
  EXPECT_EQ(dims[2].factor, 16);
  EXPECT_TRUE(check::parse_shape("").empty());
  const auto padded = check::parse_shape("up128(rows),up4(G)");
  ASSERT_EQ(padded.size(), 2u);
  EXPECT_TRUE(padded[0].padded);
  EXPECT_EQ(padded[0].symbol, "rows");
  EXPECT_EQ(padded[1].factor, 4);
}

TEST(cases, MixedDataHoldsEveryKindOfNumber) {
  const Codes codes = check::make_codes(SPF_F16, 4096, Pattern::kMixed, 7);
  int large = 0, denormal = 0, negative_zero = 0, nan = 0;
  for (double v : check::decode(SPF_F16, codes)) {
    large += std::abs(v) > 1000;
    denormal += v != 0 && std::abs(v) < 0x1p-14;
    negative_zero += v == 0 && std::signbit(v);
    nan += !std::isfinite(v);
  }
  EXPECT_GT(large, 10);
  EXPECT_GT(denormal, 10);
  EXPECT_GT(negative_zero, 10);
  EXPECT_EQ(nan, 0);
  EXPECT_EQ(codes, check::make_codes(SPF_F16, 4096, Pattern::kMixed, 7)) << "the same seed, the same data";
  EXPECT_NE(codes, check::make_codes(SPF_F16, 4096, Pattern::kMixed, 8));
  int special = 0;
  for (double v : check::decode(SPF_F32, check::make_codes(SPF_F32, 4096, Pattern::kSpecial, 7)))
    special += !std::isfinite(v);
  EXPECT_GT(special, 10);
}

// An op that no library has, for what the generator makes of `values`.
Problem ruled(const std::string& rule, spf_scalar_type type, int64_t count, bool bench = false) {
  static Op op;
  op = {};
  op.name = "ruled";
  Operand operand{"ids", SPF_ROLE_IN, false, SPF_VIEW_ROWS, "I", {type}, check::parse_shape("N"), {}, {}};
  EXPECT_TRUE(parse_value_rule(rule, &operand.values)) << rule;
  op.operands.push_back(operand);
  Problem problem;
  problem.op = &op;
  problem.operands.push_back({true, type, {count}});
  problem.dims = {{"N", count}, {"NB", 50}, {"BS", 16}};
  problem.name = rule;
  problem.bench = bench;
  return problem;
}

std::vector<double> ruled_values(const std::string& rule, spf_scalar_type type, int64_t count, bool bench = false) {
  return check::decode(type, check::make_inputs(ruled(rule, type, count, bench), Pattern::kMixed)[0]);
}

TEST(cases, IndicesKeepTheirBounds) {
  for (double v : ruled_values("index NB*BS", SPF_I32, 5000)) EXPECT_TRUE(v >= 0 && v < 800) << v;
  int none = 0, beyond = 0;
  for (double v : ruled_values("index NB*BS or -1", SPF_I32, 5000)) none += v < 0, beyond += v >= 800;
  EXPECT_GT(none, 100);
  EXPECT_GT(beyond, 100);
  for (double v : ruled_values("index NB*BS or -1", SPF_I64, 5000, true)) EXPECT_TRUE(v >= 0 && v < 800) << v;
  std::set<double> seen;
  int inside = 0;
  for (double v : ruled_values("unique index NB*BS or -1", SPF_I64, 1000))
    if (v >= 0 && v < 800) {
      ++inside;
      EXPECT_TRUE(seen.insert(v).second) << v << " occurs twice";
    }
  EXPECT_GT(inside, 500);
}

TEST(cases, OffsetsRangesAndScalesKeepTheirRules) {
  const std::vector<double> offsets = ruled_values("offsets NB*BS", SPF_I32, 100);
  EXPECT_EQ(offsets.front(), 0);
  EXPECT_EQ(offsets.back(), 800);
  EXPECT_TRUE(std::is_sorted(offsets.begin(), offsets.end()));
  EXPECT_EQ(ruled_values("offsets NB", SPF_I32, 3, true), (std::vector<double>{0, 25, 50}));
  EXPECT_EQ(ruled_values("offsets NB", SPF_I32, 1), std::vector<double>{0});
  int low = 0, high = 0;
  for (double v : ruled_values("range 1..NB*BS", SPF_I32, 1000)) {
    EXPECT_TRUE(v >= 1 && v <= 800) << v;
    low += v == 1, high += v == 800;
  }
  EXPECT_GT(low, 50);
  EXPECT_GT(high, 50);
  for (double v : ruled_values("range 1..NB", SPF_I32, 9, true)) EXPECT_EQ(v, 50);
  for (double v : ruled_values("positive", SPF_F32, 1000)) EXPECT_TRUE(v > 0 && std::isfinite(v)) << v;
}

TEST(cases, ABufferShowsEveryWriteAroundItsView) {
  const auto cpu = check::open_device("cpu");
  const check::OperandShape operand{true, SPF_F32, {2, 3}};
  const Codes codes = check::make_codes(SPF_F32, 6, Pattern::kPlain, 1);
  for (const Layout& layout :
       {Layout{}, Layout{{5, 1}}, Layout{{1, 2}, 4}, Layout{{5, 1}, 0, true}, Layout{{int64_t{1} << 32, 1}}}) {
    check::Buffer buffer(*cpu, operand, layout);
    buffer.put(codes, 0xFF);
    EXPECT_EQ(buffer.get(), codes);
    EXPECT_EQ(buffer.damage(), "");
    auto* base = static_cast<std::byte*>(buffer.view().data);
    base[-1] = std::byte{0};
    EXPECT_EQ(buffer.get(), codes);
    EXPECT_NE(buffer.damage(), "");
  }
  check::Buffer padded_rows(*cpu, operand, {{5, 1}});
  padded_rows.put(codes, 0xFF);
  static_cast<std::byte*>(padded_rows.view().data)[13] = std::byte{0}; // the gap between the rows
  EXPECT_EQ(padded_rows.get(), codes);
  EXPECT_NE(padded_rows.damage(), "");
}

// One number of one output replaced; the rest equal.
check::Comparison compared(double reference, double got, spf_scalar_type type, int64_t columns) {
  const Op* op = check::find_op("rms_norm");
  Case c;
  c.op = op->name;
  c.types["T"] = check::type_name(type);
  c.leading = {1};
  c.dims["H"] = columns;
  const Problem problem = check::make_problem(c);
  const auto inputs = check::make_inputs(problem, Pattern::kPlain);
  std::vector<Codes> expected(problem.operands.size());
  const auto out = static_cast<size_t>(op->operand_index("out"));
  expected[out] = check::make_codes(type, columns, Pattern::kPlain, 3);
  const auto put = [&](Codes& codes, double value) {
    check::expect_ok(spf_encode(type, &value, 1, codes.data() + (columns / 2) * check::type_bytes(type)), "spf_encode");
  };
  put(expected[out], reference);
  auto outputs = expected;
  put(outputs[out], got);
  return check::compare(problem, inputs, outputs, expected, "as given");
}

TEST(cases, IntegersAreComparedBitForBit) {
  const Problem problem = ruled("index NB", SPF_I64, 4);
  const auto codes = [](std::vector<int64_t> values) {
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    return std::vector<Codes>{Codes(bytes, bytes + values.size() * 8)};
  };
  const auto want = codes({1, int64_t{1} << 60, 3, 4});
  EXPECT_TRUE(check::compare(problem, want, want, want, "as given").equal);
  const auto result = check::compare(problem, want, codes({1, (int64_t{1} << 60) + 1, 3, 4}), want, "as given");
  EXPECT_FALSE(result.equal) << "numbers that no double tells apart";
  EXPECT_NE(result.difference.find("ids[1]"), std::string::npos) << result.difference;
}

TEST(cases, ComparisonAllowsRoundingAndNothingElse) {
  EXPECT_TRUE(compared(1.5, 1.5, SPF_BF16, 100).equal);
  EXPECT_TRUE(compared(1.5, 1.5078125, SPF_BF16, 100).equal) << "an ulp";
  EXPECT_FALSE(compared(1.5, -1.5, SPF_BF16, 100).equal);
  EXPECT_FALSE(compared(1.5, 0, SPF_BF16, 100).equal) << "an element that was not written";
  EXPECT_FALSE(compared(1.5, 2.5, SPF_F16, 100).equal);
  EXPECT_FALSE(compared(1.5, 1.5001, SPF_F32, 100).equal);
  EXPECT_FALSE(compared(1.5, std::nan(""), SPF_F32, 100).equal);
  EXPECT_FALSE(compared(std::nan(""), 1.5, SPF_F32, 100).equal);
  EXPECT_FALSE(compared(1.5, INFINITY, SPF_F16, 100).equal);
  EXPECT_FALSE(compared(-INFINITY, INFINITY, SPF_F16, 100).equal);
  EXPECT_TRUE(compared(INFINITY, 65504, SPF_F16, 100).equal) << "neighbours";
  EXPECT_TRUE(compared(std::nan(""), std::nan(""), SPF_F16, 100).equal);
}

} // namespace
} // namespace spf::drivers

// What sample promises: the exact distributions, ties, flags, and a row's answer from that row alone. Every CPU kernel.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace spearfish {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

// One row's parameters. Rows of a call may differ in all of them.
struct Rule {
  float temperature = 1;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
};

struct Row {
  std::vector<float> logits;
  Rule rule;
  int64_t seed = 1, position = 0;
};

struct Answers {
  std::vector<int32_t> ids;
  std::vector<uint8_t> flags;
};

Answers sample_rows(const std::vector<Row>& rows, const std::string& kernel) {
  const auto count = static_cast<int64_t>(rows.size()), v = static_cast<int64_t>(rows[0].logits.size());
  std::vector<float> logits, temperature, top_p, min_p;
  std::vector<int32_t> top_k;
  std::vector<int64_t> seeds, positions;
  for (const Row& row : rows) {
    logits.insert(logits.end(), row.logits.begin(), row.logits.end());
    temperature.push_back(row.rule.temperature);
    top_k.push_back(row.rule.top_k);
    top_p.push_back(row.rule.top_p);
    min_p.push_back(row.rule.min_p);
    seeds.push_back(row.seed);
    positions.push_back(row.position);
  }
  Answers answers{std::vector<int32_t>(rows.size(), -7), std::vector<uint8_t>(rows.size(), 99)};
  const auto vector = [&](auto& values) { return view(values.data(), {count}); };
  const auto run = [&](const Launch& launch) {
    sample(view(logits.data(), {count, v}), vector(answers.ids),
           {vector(temperature), vector(top_k), vector(top_p), vector(min_p)}, vector(seeds), vector(positions),
           vector(answers.flags), launch);
  };
  Plan plan;
  run(Launch().require(kernel).plan_only(plan));
  const Buffer workspace(plan.workspace_bytes());
  run(Launch().require(kernel).workspace(workspace.data(), workspace.size()));
  return answers;
}

class Sample : public testing::TestWithParam<const char*> {
 protected:
  Answers run(const std::vector<Row>& rows) const { return sample_rows(rows, GetParam()); }
  int32_t one(const Row& row) const { return run({row}).ids[0]; }

  // The tokens that a row can give, by many draws.
  std::set<int32_t> support(Row row, int draws = 400) const {
    std::vector<Row> rows;
    for (int i = 0; i < draws; ++i) {
      row.position = i;
      rows.push_back(row);
    }
    const Answers answers = run(rows);
    return {answers.ids.begin(), answers.ids.end()};
  }
};

std::string kernel_name(const testing::TestParamInfo<const char*>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(Kernels, Sample, testing::Values("reference", "portable_histogram"), kernel_name);

std::vector<float> random_logits(size_t v, uint32_t seed, float spread = 2) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(v);
  for (float& logit : logits) logit = normal(generator);
  return logits;
}

// The distribution that the filters leave, from the definition in ops/sampling.h, in fp64.
std::vector<double> exact_distribution(const std::vector<float>& logits, const Rule& rule) {
  const size_t v = logits.size();
  const double best = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p(v);
  for (size_t i = 0; i < v; ++i) p[i] = std::exp((logits[i] - best) / rule.temperature);
  const auto above = [&](size_t i) { // strictly: how many, and their probability
    std::pair<int, double> sum{0, 0};
    for (size_t j = 0; j < v; ++j)
      if (p[j] > p[i]) sum = {sum.first + 1, sum.second + p[j]};
    return sum;
  };
  std::vector<double> kept = p;
  if (rule.top_k > 0)
    for (size_t i = 0; i < v; ++i)
      if (above(i).first >= rule.top_k) kept[i] = 0;
  const double total = std::accumulate(kept.begin(), kept.end(), 0.0);
  for (size_t i = 0; i < v; ++i)
    if ((rule.top_p < 1 && p[i] < 1 && above(i).second >= rule.top_p * total) || p[i] < rule.min_p) kept[i] = 0;
  const double rest = std::accumulate(kept.begin(), kept.end(), 0.0);
  for (double& k : kept) k /= rest;
  return kept;
}

// Chi-square over the tokens that are expected often enough, the rest as one class.
void expect_distribution(const std::vector<int32_t>& ids, const std::vector<double>& exact, const std::string& what) {
  std::map<int32_t, int> seen;
  for (int32_t id : ids) ++seen[id];
  const auto draws = static_cast<double>(ids.size());
  double chi = 0, rest_expected = 0, rest_seen = 0;
  int classes = 0;
  const auto add = [&](double expected, double got) {
    chi += (got - expected) * (got - expected) / expected;
    ++classes;
  };
  for (size_t i = 0; i < exact.size(); ++i) {
    const double expected = exact[i] * draws,
                 got = seen.count(static_cast<int32_t>(i)) ? seen[static_cast<int32_t>(i)] : 0;
    EXPECT_TRUE(exact[i] > 0 || got == 0) << what << ": token " << i << " was filtered out";
    if (expected >= 8) {
      add(expected, got);
    } else {
      rest_expected += expected;
      rest_seen += got;
    }
  }
  if (rest_expected >= 8) add(rest_expected, rest_seen);
  const double freedom = classes - 1;
  // Five standard deviations: about one in a million, and the seeds are fixed.
  EXPECT_LT(chi, freedom + 5 * std::sqrt(2 * freedom) + 5) << what << ": " << freedom << " degrees of freedom";
}

TEST_P(Sample, DrawsFromTheExactDistribution) {
  const Rule rules[] = {{1, 0, 1, 0},          {0.7f, 0, 1, 0},   {3, 0, 1, 0},        {1, 5, 1, 0},
                        {1, 40, 1, 0},         {1, 0, 0.9f, 0},   {0.8f, 0, 0.5f, 0},  {1.2f, 0, 0.999f, 0},
                        {1, 0, 1, 0.1f},       {2, 0, 1, 0.02f},  {0.9f, 20, 0.8f, 0}, {1, 50, 0.95f, 0.05f},
                        {1.5f, 7, 0.6f, 0.3f}, {1, 1000, 0.7f, 0}};
  uint32_t salt = 0;
  for (const Rule& rule : rules) {
    Row row{random_logits(300, ++salt), rule, 1234 + salt, 0};
    const std::vector<double> exact = exact_distribution(row.logits, rule);
    for (bool by_seed : {false, true}) { // consecutive positions of a seed, and consecutive seeds at one position
      std::vector<Row> rows;
      for (int i = 0; i < 8000; ++i) {
        (by_seed ? row.seed : row.position) = i;
        rows.push_back(row);
      }
      expect_distribution(run(rows).ids, exact,
                          "rule " + std::to_string(salt) + (by_seed ? " by seed" : " by position"));
    }
  }
}

TEST_P(Sample, KeepsEverythingThatTiesAtTheBorder) {
  const Row row{{0, 2, 1, 3, 1, -1, 1}, {}, 5, 0};
  const auto with = [&](Rule rule) {
    Row r = row;
    r.rule = rule;
    return support(r);
  };
  EXPECT_EQ(with({1, 1, 1, 0}), (std::set<int32_t>{3}));
  EXPECT_EQ(with({1, 2, 1, 0}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(with({1, 3, 1, 0}), (std::set<int32_t>{1, 2, 3, 4, 6})) << "the third of them ties with two more";
  EXPECT_EQ(with({1, 5, 1, 0}), (std::set<int32_t>{1, 2, 3, 4, 6}));
  // Probabilities 0.53, 0.195, 3 x 0.072, ...
  EXPECT_EQ(with({1, 0, 0.5f, 0}), (std::set<int32_t>{3}));
  EXPECT_EQ(with({1, 0, 0.6f, 0}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(with({1, 0, 0.78f, 0}), (std::set<int32_t>{1, 2, 3, 4, 6}));
  EXPECT_EQ(with({1, 0, 0, 0}), (std::set<int32_t>{3})) << "the most probable always stays";
  EXPECT_EQ(with({1, 0, 1e-30f, 0}), (std::set<int32_t>{3}));
  EXPECT_EQ(with({1, 0, 1, 1}), (std::set<int32_t>{3}));
  EXPECT_EQ(with({1, 0, 1, 0.13f}), (std::set<int32_t>{1, 2, 3, 4, 6}));
  // All alike: nothing can be cut off.
  EXPECT_EQ(support({std::vector<float>(12, 4.5f), {1, 2, 0.1f, 0.9f}}).size(), 12u);
}

TEST_P(Sample, TopPSeesWhatTopKLeft) {
  // 0.4, 0.3, 0.2, 0.1: of the first two, 0.57 and 0.43.
  const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  EXPECT_EQ(support({logits, {1, 0, 0.5f, 0}}), (std::set<int32_t>{0, 1}));
  EXPECT_EQ(support({logits, {1, 2, 0.5f, 0}}), (std::set<int32_t>{0}));
  EXPECT_EQ(support({logits, {1, 2, 0.6f, 0}}), (std::set<int32_t>{0, 1}));
}

TEST_P(Sample, IsGreedyAtTemperatureZero) {
  EXPECT_EQ(one({{1, 5, 5, 2}, {0, 3, 0.9f, 0.1f}}), 1) << "the first of equal ones";
  EXPECT_EQ(one({{-0.0f, 0.0f, -1, -1}, {0, 0, 1, 0}}), 0) << "zeros of both signs are equal";
  EXPECT_EQ(one({{-kInf, -5, kInf, kInf}, {0, 0, 1, 0}}), 2);
}

TEST_P(Sample, TemperaturesAtTheirEnds) {
  EXPECT_EQ(support({{1, 3, 2.999f, 3}, {1e-42f, 0, 1, 0}}), (std::set<int32_t>{1, 3}))
      << "next to 0: the best, ties drawn";
  EXPECT_EQ(support({{1, 30, -20, -kInf}, {kInf, 0, 1, 0}}), (std::set<int32_t>{0, 1, 2})) << "endless: uniform";
  EXPECT_EQ(support({{1, kInf, 7, kInf}, {1, 0, 1, 0}}), (std::set<int32_t>{1, 3}));
}

TEST_P(Sample, NeverDrawsMinusInfinity) {
  std::vector<float> logits(64, -kInf);
  logits[9] = -3;
  logits[40] = -3.5f;
  EXPECT_EQ(support({logits, {5, 0, 1, 0}}), (std::set<int32_t>{9, 40}));
  EXPECT_EQ(support({logits, {5, 30, 0.99f, 0}}), (std::set<int32_t>{9, 40}));
}

TEST_P(Sample, FlagsRowsWithoutAnAnswerAndLeavesTheOthers) {
  const std::vector<float> good = random_logits(16, 3);
  std::vector<float> with_nan = good;
  with_nan[11] = kNan;
  const std::vector<Row> rows = {{good, {1, 0, 1, 0}},     {with_nan, {1, 0, 1, 0}},
                                 {good, {1, 0, 1, 0}},     {std::vector<float>(16, -kInf), {1, 0, 1, 0}},
                                 {good, {-1, 0, 1, 0}},    {good, {kNan, 0, 1, 0}},
                                 {good, {1, 0, kNan, 0}},  {good, {1, 0, 1, kNan}},
                                 {with_nan, {0, 0, 1, 0}}, {std::vector<float>(16, -kInf), {0, 0, 1, 0}}};
  const Answers answers = run(rows);
  EXPECT_EQ(answers.flags, (std::vector<uint8_t>{0, SPF_ROW_NAN, 0, SPF_ROW_EMPTY, SPF_ROW_PARAMETER, SPF_ROW_PARAMETER,
                                                 SPF_ROW_PARAMETER, SPF_ROW_PARAMETER, SPF_ROW_NAN, SPF_ROW_EMPTY}));
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_TRUE(answers.flags[i] == 0 || answers.ids[i] == 0) << i;
  EXPECT_EQ(answers.ids[0], one(rows[0]));
  EXPECT_EQ(answers.ids[2], one(rows[2]));
}

TEST_P(Sample, ARowsAnswerDependsOnThatRowAlone) {
  std::vector<Row> rows;
  for (uint32_t i = 0; i < 24; ++i)
    rows.push_back(
        {random_logits(777, i),
         {0.5f + 0.1f * static_cast<float>(i), static_cast<int32_t>(i * 3), i % 2 ? 0.9f : 1.0f, i % 3 ? 0.0f : 0.01f},
         static_cast<int64_t>(i % 4) - 2,
         int64_t{1} << i});
  const Answers forward = run(rows);
  std::vector<Row> backward(rows.rbegin(), rows.rend());
  std::vector<int32_t> ids = run(backward).ids;
  std::reverse(ids.begin(), ids.end());
  EXPECT_EQ(ids, forward.ids);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(one(rows[i]), forward.ids[i]) << i;
}

TEST_P(Sample, SeedAndPositionBothCount) {
  const std::vector<float> flat(4096, 0);
  std::set<int32_t> ids;
  for (const auto& [seed, position] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 0}, {0, 1}, {1, 0}, {0, int64_t{1} << 32}, {int64_t{1} << 32, 0}, {-1, 0}, {0, -1}})
    ids.insert(one({flat, {}, seed, position}));
  EXPECT_EQ(ids.size(), 7u);
}

TEST_P(Sample, TokensOfTheSmallestVocabularies) {
  EXPECT_EQ(one({{-3}, {1, 1, 0.5f, 0.5f}}), 0);
  EXPECT_EQ(support({{0, 0}, {}}), (std::set<int32_t>{0, 1}));
}

TEST(Sampling, AgreesOnEveryKernelOverManyRules) {
  std::mt19937 random(99);
  const auto pick = [&](auto... values) {
    const float all[] = {static_cast<float>(values)...};
    return all[random() % std::size(all)];
  };
  std::vector<Row> rows;
  for (uint32_t i = 0; i < 300; ++i) {
    std::vector<float> logits = random_logits(2500, i, pick(0.1, 2, 30));
    if (i % 3 == 0) // many ties
      for (float& logit : logits) logit = std::round(logit * 2) / 2;
    rows.push_back({logits,
                    {pick(0, 0.3, 1, 1, 4), static_cast<int32_t>(pick(0, -1, 1, 2, 7, 50, 2400, 2500, 9000)),
                     pick(1, 2, 0, -1, 0.01, 0.5, 0.9, 0.99999), pick(0, -1, 1e-9, 0.05, 0.5, 1, 3)},
                    static_cast<int64_t>(random()),
                    static_cast<int64_t>(random())});
  }
  EXPECT_EQ(sample_rows(rows, "portable_histogram").ids, sample_rows(rows, "reference").ids);
}

TEST(Sampling, ArgmaxFlagsNanRowsOnly) {
  std::vector<float> logits = {1, 3, 3, kNan, 0, 0, -kInf, -kInf, -kInf, -5, -4, kInf};
  std::vector<int64_t> ids(4, -7);
  std::vector<uint8_t> flags(4, 99);
  for (const char* kernel : {"reference", "portable_scan"}) {
    argmax(view(logits.data(), {4, 3}), view(ids.data(), {4}), view(flags.data(), {4}), Launch().require(kernel));
    EXPECT_EQ(ids, (std::vector<int64_t>{1, 0, 0, 2})) << kernel;
    EXPECT_EQ(flags, (std::vector<uint8_t>{0, SPF_ROW_NAN, 0, 0})) << kernel;
  }
}

} // namespace
} // namespace spearfish

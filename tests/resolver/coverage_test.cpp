// The coverage query of the C ABI.
#include "spearfish/coverage.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "plan/table.hpp"

namespace {

struct Free {
  void operator()(spf_coverage* c) const { spf_coverage_free(c); }
};
using Coverage = std::unique_ptr<spf_coverage, Free>;

Coverage ask(const char* archs, const char* toolkit, spf_status expected = SPF_OK) {
  spf_coverage* out = nullptr;
  EXPECT_EQ(spf_coverage_query(archs, toolkit, &out), expected);
  return Coverage(out);
}

std::vector<spf_coverage_row> rows(const Coverage& c) {
  std::vector<spf_coverage_row> out;
  for (int32_t i = 0; i < spf_coverage_count(c.get()); ++i) {
    spf_coverage_row row{};
    row.struct_size = sizeof(row);
    EXPECT_EQ(spf_coverage_get(c.get(), i, &row), SPF_OK);
    out.push_back(row);
  }
  return out;
}

std::string last_error() {
  spf_error_detail detail{};
  detail.struct_size = sizeof(detail);
  EXPECT_EQ(spf_last_error(&detail), SPF_OK);
  return detail.message;
}

// Every op has its reference on every CPU row, in every build.
TEST(CoverageQuery, WhatThisLibraryHolds) {
  const Coverage c = ask(nullptr, nullptr);
  EXPECT_STREQ(spf_coverage_targets(c.get()), spf::kManifest.targets);
  EXPECT_STREQ(spf_coverage_toolkit(c.get()), spf::kManifest.toolkit);
  std::map<std::string, int> references;
  for (const spf_coverage_row& row : rows(c)) {
    EXPECT_EQ(row.built == 0, std::string(row.state) == "excluded") << row.kernel << " on " << row.target;
    EXPECT_EQ(*row.code == '\0', std::string(row.state) == "excluded") << row.kernel << " on " << row.target;
    if (std::string(row.kernel) == "reference" && row.built) ++references[row.target];
  }
  for (const spf::arch::ArchRow& row : spf::kManifest.arch.rows)
    EXPECT_EQ(references[row.name] > 0, row.target.kind == spf::arch::Target::Kind::kCpu) << row.name;
}

// The same list and toolkit as the build's give the same answers, because the same function decides.
TEST(CoverageQuery, TheBuildsOwnListGivesTheBuildsOwnAnswers) {
  std::string list = spf::kManifest.targets;
  for (const spf::arch::ArchRow& row : spf::kManifest.arch.rows)
    if (row.target.kind == spf::arch::Target::Kind::kCpu) list += std::string(";") + row.name;
  const Coverage built = ask(nullptr, nullptr);
  const Coverage again = ask(list.c_str(), *spf::kManifest.toolkit ? spf::kManifest.toolkit : nullptr);
  const auto a = rows(built), b = rows(again);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_STREQ(a[i].family, b[i].family);
    EXPECT_STREQ(a[i].kernel, b[i].kernel);
    EXPECT_STREQ(a[i].ops, b[i].ops);
    EXPECT_STREQ(a[i].target, b[i].target);
    EXPECT_STREQ(a[i].state, b[i].state);
    EXPECT_STREQ(a[i].code, b[i].code);
    EXPECT_EQ(a[i].built, b[i].built);
  }
}

TEST(CoverageQuery, ListsAreTakenInEverySpelling) {
  const Coverage c = ask("sm_120a, 90a;8.0+PTX", "12.9");
  EXPECT_STREQ(spf_coverage_targets(c.get()), "8.0+PTX;9.0a;12.0a");
  EXPECT_STREQ(spf_coverage_toolkit(c.get()), "12.9");
  EXPECT_STREQ(spf_coverage_toolkit(ask("9.0", nullptr).get()), "13.0");
}

TEST(CoverageQuery, BadInputIsNamed) {
  EXPECT_EQ(ask("9.0b", nullptr, SPF_INVALID_ARGUMENT), nullptr);
  EXPECT_NE(last_error().find("did you mean '9.0"), std::string::npos) << last_error();
  ask("9.0", "13", SPF_INVALID_ARGUMENT);
  EXPECT_NE(last_error().find("toolkit"), std::string::npos) << last_error();
  ask(" ; ", nullptr, SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_coverage_query(nullptr, nullptr, nullptr), SPF_INVALID_ARGUMENT);
  const Coverage c = ask(nullptr, nullptr);
  spf_coverage_row row{};
  EXPECT_EQ(spf_coverage_get(c.get(), 0, &row), SPF_ABI_MISMATCH);
  row.struct_size = sizeof(row);
  EXPECT_EQ(spf_coverage_get(c.get(), spf_coverage_count(c.get()), &row), SPF_NOT_FOUND);
  EXPECT_EQ(spf_coverage_get(c.get(), -1, &row), SPF_NOT_FOUND);
  EXPECT_EQ(spf_coverage_get(nullptr, 0, &row), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_coverage_count(nullptr), 0);
  EXPECT_STREQ(spf_coverage_targets(nullptr), "");
  spf_coverage_free(nullptr);
}

} // namespace

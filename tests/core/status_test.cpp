// spearfish/status.h: names, sentences, and the calling thread's last error.
#include "core/status.hpp"

#include <set>
#include <thread>

#include "support.hpp"

namespace spf::test {
namespace {

TEST(Status, EveryValueHasANameAndASentence) {
  std::set<std::string> names, sentences;
  for (int s = SPF_OK; s <= SPF_INTERNAL; ++s) {
    const std::string name = spf_status_name(static_cast<spf_status>(s)),
                      sentence = spf_status_sentence(static_cast<spf_status>(s));
    EXPECT_EQ(name.substr(0, 4), "SPF_") << s;
    EXPECT_NE(name, "SPF_UNKNOWN") << s;
    EXPECT_EQ(sentence.back(), '.') << name;
    names.insert(name);
    sentences.insert(sentence);
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(SPF_INTERNAL) + 1);
  EXPECT_EQ(sentences.size(), names.size());
  EXPECT_STREQ(spf_status_name(static_cast<spf_status>(SPF_INTERNAL + 1)), "SPF_UNKNOWN");
  EXPECT_NE(std::string(spf_status_sentence(static_cast<spf_status>(-1))), "");
}

TEST(LastError, HoldsEveryPartAndOneSentence) {
  EXPECT_EQ(fail(SPF_INVALID_STRIDE, "rms_norm", "validate", "x.stride[1]", "2", "1", 77), SPF_INVALID_STRIDE);
  const spf_error_detail e = last_error();
  EXPECT_EQ(e.status, SPF_INVALID_STRIDE);
  EXPECT_EQ(e.device_code, 77);
  EXPECT_STREQ(e.op, "rms_norm");
  EXPECT_STREQ(e.stage, "validate");
  EXPECT_STREQ(e.field, "x.stride[1]");
  EXPECT_STREQ(e.value, "2");
  EXPECT_STREQ(e.allowed, "1");
  EXPECT_STREQ(e.message, "rms_norm: x.stride[1] is 2; allowed: 1");
}

TEST(LastError, PartsThatDoNotApplyAreEmpty) {
  fail(SPF_DEVICE_ERROR, "silu", "launch", "", "cudaErrorX", "", 1);
  EXPECT_STREQ(last_error().field, "");
  EXPECT_STREQ(last_error().message, "silu: cudaErrorX; The device runtime reported an error.");
  fail(SPF_INTERNAL, "silu", "", "", "", "");
  EXPECT_STREQ(last_error().message, "silu: The library broke a promise of its own; please report it.");
}

TEST(LastError, SuccessKeepsIt) {
  fail(SPF_NOT_FOUND, "op", "validate", "name", "x", "y");
  spf_tensor t;
  ASSERT_EQ(spf_tensor_init(&t, nullptr, SPF_F32, 0, nullptr, kCpu), SPF_OK);
  EXPECT_EQ(last_error().status, SPF_NOT_FOUND);
}

TEST(LastError, IsTheThreadsOwn) {
  fail(SPF_INVALID_SHAPE, "here", "", "", "", "");
  std::string other_before, other_after;
  std::thread([&] {
    other_before = last_error().op;
    fail(SPF_INVALID_TYPE, "there", "", "", "", "");
    other_after = last_error().op;
  }).join();
  EXPECT_EQ(other_before, "");
  EXPECT_EQ(other_after, "there");
  EXPECT_STREQ(last_error().op, "here");
  EXPECT_EQ(last_error().status, SPF_INVALID_SHAPE);
}

TEST(LastError, StructSize) {
  EXPECT_EQ(spf_last_error(nullptr), SPF_ABI_MISMATCH);
  spf_error_detail d = {};
  EXPECT_EQ(spf_last_error(&d), SPF_ABI_MISMATCH);
  d.struct_size = sizeof d - 1;
  EXPECT_EQ(spf_last_error(&d), SPF_ABI_MISMATCH);
  d.struct_size = sizeof d + 8;
  EXPECT_EQ(spf_last_error(&d), SPF_OK);
  EXPECT_EQ(d.struct_size, sizeof d + 8) << "the caller's size is not touched";
}

TEST(CheckStructSize, SmallerIsRefusedLargerIsFine) {
  struct {
    uint32_t struct_size;
    char rest[96];
  } s = {};
  EXPECT_EQ(check_struct_size(nullptr, 16, "op", "s"), SPF_INVALID_ARGUMENT);
  EXPECT_STREQ(last_error().value, "NULL");
  for (const auto& [size, status] : {std::pair{0u, SPF_ABI_MISMATCH},
                                     {15u, SPF_ABI_MISMATCH},
                                     {16u, SPF_OK},
                                     {17u, SPF_OK},
                                     {4096u, SPF_OK},
                                     {4097u, SPF_ABI_MISMATCH},
                                     {0xdeadbeefu, SPF_ABI_MISMATCH}}) {
    s.struct_size = size;
    EXPECT_EQ(check_struct_size(&s, 16, "op", "s"), status) << size;
  }
  EXPECT_STREQ(last_error().field, "s.struct_size");
  EXPECT_STREQ(last_error().allowed, "sizeof the struct, at least 16");
}

TEST(Guarded, ExceptionsBecomeStatuses) {
  EXPECT_EQ(guarded("f", []() -> spf_status { return SPF_OK; }), SPF_OK);
  EXPECT_EQ(guarded("f", []() -> spf_status { throw std::bad_alloc(); }), SPF_OUT_OF_MEMORY);
  EXPECT_STREQ(last_error().op, "f");
  EXPECT_EQ(guarded("f", []() -> spf_status { throw std::runtime_error("boom"); }), SPF_INTERNAL);
  EXPECT_NE(std::string(last_error().message).find("boom"), std::string::npos);
  EXPECT_EQ(guarded("f", []() -> spf_status { throw 7; }), SPF_INTERNAL);
}

} // namespace
} // namespace spf::test

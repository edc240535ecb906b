// safetensors: what is declared is what is read, what lies is refused by name, what is written reads back.
#include "model/safetensors.hpp"

#include <cstring>
#include <random>

#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish::model;

std::string file_of(std::string_view header, std::string_view data, int64_t length = -1) {
  const uint64_t n = length < 0 ? header.size() : static_cast<uint64_t>(length);
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out + std::string(header) + std::string(data);
}

SafetensorsFile parse(const std::string& file) { return parse_safetensors(bytes_of(file), "t.safetensors"); }

TEST(Safetensors, ReadsEntriesInOrderOfTheirBytes) {
  const std::string file = file_of(
      R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},)"
      R"("s":{"dtype":"I64","shape":[],"data_offsets":[12,20]},"e":{"dtype":"U8","shape":[0,7],"data_offsets":[4,4]},)"
      R"("__metadata__":{"format":"pt"}}  )",
      std::string(20, 'x'));
  const SafetensorsFile parsed = parse(file);
  ASSERT_EQ(parsed.tensors.size(), 4u);
  EXPECT_EQ(parsed.tensors[0].name, "a");
  EXPECT_EQ(parsed.tensors[1].name, "e");
  EXPECT_EQ(parsed.tensors[2].name, "b");
  EXPECT_EQ(parsed.tensors[3].shape_text(), "[]");
  EXPECT_EQ(parsed.tensors[0].dtype, Dtype::kBF16);
  EXPECT_EQ(parsed.tensors[0].shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(parsed.tensors[2].bytes.data(), bytes_of(file).data() + file.size() - 20 + 4);
  EXPECT_EQ(parsed.metadata.at("format"), "pt");
}

struct Bad {
  const char* what;
  std::string header;
  size_t data;
  const char* field;
  spf_status status = SPF_CORRUPT_DATA;
};

class Refused : public testing::TestWithParam<Bad> {};

TEST_P(Refused, ByName) {
  const Bad& bad = GetParam();
  const Error e = refusal([&] { parse(file_of(bad.header, std::string(bad.data, 'x'))); });
  EXPECT_EQ(e.field(), bad.field) << e.what();
  EXPECT_EQ(e.status(), bad.status);
  EXPECT_EQ(e.file(), "t.safetensors");
  EXPECT_FALSE(e.value().empty());
  EXPECT_FALSE(e.allowed().empty());
}

std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return R"({"w":{"dtype":")" + std::string(dtype) + R"(","shape":)" + std::string(shape) + R"(,"data_offsets":)" +
         std::string(offsets) + "}}";
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, Refused,
    testing::Values(
        Bad{"not json", "{\"w\":", 0, "byte 6"}, Bad{"not an object", "[1,2]", 0, "header"},
        Bad{"no dtype", R"({"w":{"shape":[1],"data_offsets":[0,1]}})", 1, "w.dtype"},
        Bad{"unknown dtype", one("Q9", "[1]", "[0,1]"), 1, "w.dtype", SPF_UNSUPPORTED},
        Bad{"dtype of wrong type", R"({"w":{"dtype":7,"shape":[1],"data_offsets":[0,1]}})", 1, "w.dtype"},
        Bad{"entry is a number", R"({"w":7})", 0, "w"},
        Bad{"negative extent", one("U8", "[-1]", "[0,1]"), 1, "w.shape"},
        Bad{"fractional extent", one("U8", "[1.5]", "[0,1]"), 1, "w.shape"},
        Bad{"shape overflows", one("F32", "[4294967296,4294967296]", "[0,0]"), 0, "w.shape"},
        Bad{"shape overflows past a zero", one("F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]"), 0,
            "w.shape"},
        Bad{"rank 9", one("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "w.shape", SPF_UNSUPPORTED},
        Bad{"odd e2m1", one("F4", "[2,3]", "[0,3]"), 3, "w.shape"},
        Bad{"offsets backwards", one("U8", "[1]", "[1,0]"), 1, "w.data_offsets"},
        Bad{"offsets past the end", one("U8", "[9]", "[0,9]"), 8, "w.data_offsets"},
        Bad{"three offsets", one("U8", "[1]", "[0,1,1]"), 1, "w.data_offsets"},
        Bad{"negative offset", one("U8", "[1]", "[-1,0]"), 1, "w.data_offsets"},
        Bad{"offsets lie about the size", one("F32", "[2]", "[0,4]"), 4, "w.data_offsets"},
        Bad{"hole at the start", one("U8", "[1]", "[1,2]"), 2, "w.data_offsets"},
        Bad{"data left over", one("U8", "[1]", "[0,1]"), 2, "file size"},
        Bad{"overlap",
            R"({"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            3, "w.data_offsets"},
        Bad{"name twice",
            R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
            2, "key"},
        Bad{"metadata holds a number", R"({"__metadata__":{"a":1}})", 0, "__metadata__.a"},
        Bad{"deep nesting", R"({"w":)" + std::string(500, '[') + std::string(500, ']') + "}", 0, "JSON nesting"}));

TEST(Safetensors, RefusesLyingLengths) {
  EXPECT_EQ(refusal([] { parse(""); }).field(), "file size");
  EXPECT_EQ(refusal([] { parse("1234567"); }).field(), "file size");
  for (const int64_t length : {int64_t{0}, int64_t{1}, int64_t{3}, int64_t{100'000'001}, INT64_MAX}) {
    const Error e = refusal([&] { parse(file_of("{}", "", length)); });
    EXPECT_EQ(e.field(), "header length");
    EXPECT_EQ(e.value(), std::to_string(length));
  }
  EXPECT_TRUE(parse(file_of("{}", "")).tensors.empty());
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = file_of(one("F32", "[4]", "[0,16]"), std::string(16, 'x'));
  for (size_t size = 0; size < whole.size(); ++size) refusal([&] { parse(whole.substr(0, size)); });
  EXPECT_EQ(parse(whole).tensors.size(), 1u);
}

// Random sets of tensors: written in any order, read back equal.
TEST(Safetensors, RoundTrips) {
  std::mt19937 random(7);
  const auto pick = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  constexpr Dtype kTypes[] = {Dtype::kBool, Dtype::kU8,  Dtype::kF8E4M3, Dtype::kF16,    Dtype::kBF16,  Dtype::kI32,
                              Dtype::kF32,  Dtype::kF64, Dtype::kI64,    Dtype::kF4E2M1, Dtype::kF8E8M0};
  for (int round = 0; round < 60; ++round) {
    const Scratch dir;
    std::vector<TensorSpec> specs;
    std::map<std::string, std::string> contents;
    for (int t = pick(8); t > 0; --t) {
      TensorSpec spec{"layer." + std::to_string(t) + (pick(2) ? ".w\"\\\n" : "."), kTypes[pick(11)], {}};
      for (int d = pick(4); d > 0; --d) spec.shape.push_back(pick(6));
      if (spec.dtype == Dtype::kF4E2M1) spec.shape.push_back(2 * pick(5));
      std::string data(*tensor_bytes(spec.dtype, spec.shape), '\0');
      for (char& c : data) c = static_cast<char>(pick(256));
      contents[spec.name] = data;
      specs.push_back(spec);
    }
    std::map<std::string, std::string> metadata;
    if (pick(2)) metadata = {{"format", "pt"}, {"a", "\u00e9 \""}};
    SafetensorsWriter writer(dir / "w.safetensors", specs, metadata);
    std::shuffle(specs.begin(), specs.end(), random);
    for (const TensorSpec& spec : specs) writer.write(spec.name, bytes_of(contents[spec.name]));
    writer.finish();
    const TensorSet set = TensorSet::open_safetensors(dir / "w.safetensors");
    ASSERT_EQ(set.tensors().size(), specs.size());
    EXPECT_EQ(set.metadata(), metadata);
    for (const TensorSpec& spec : specs) {
      const TensorEntry* tensor = set.find(spec.name);
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->dtype, spec.dtype);
      EXPECT_EQ(tensor->shape, spec.shape);
      const std::string_view read(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size());
      EXPECT_EQ(read, contents[spec.name]);
      if (!tensor->bytes.empty()) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->bytes.data()) %
                      static_cast<uintptr_t>(dtype_info(spec.dtype).block_bytes),
                  0u);
      }
    }
    EXPECT_EQ(dir.entries(), 1u);
  }
}

TEST(Safetensors, WriterKeepsItsRules) {
  const Scratch dir;
  const TensorSpec w{"w", Dtype::kF32, {2}};
  EXPECT_EQ(refusal([&] { SafetensorsWriter(dir / "a", {w, w}); }).field(), "tensor name");
  EXPECT_EQ(refusal([&] { SafetensorsWriter(dir / "a", {{"__metadata__", Dtype::kU8, {1}}}); }).field(), "tensor name");
  EXPECT_EQ(refusal([&] { SafetensorsWriter(dir / "a", {{"q", Dtype::kQ4_0, {32}}}); }).field(), "q.dtype");
  EXPECT_EQ(refusal([&] { SafetensorsWriter(dir / "a", {{"q", Dtype::kF64, {INT64_MAX, 3}}}); }).field(), "q.shape");
  {
    SafetensorsWriter writer(dir / "a", {w});
    EXPECT_EQ(refusal([&] { writer.write("v", bytes_of("12345678")); }).field(), "tensor name");
    EXPECT_EQ(refusal([&] { writer.write("w", bytes_of("1234567")); }).field(), "w size");
    EXPECT_EQ(refusal([&] { writer.finish(); }).value(), "w (not written)");
    writer.write("w", bytes_of("12345678"));
    EXPECT_EQ(refusal([&] { writer.write("w", bytes_of("12345678")); }).value(), "w (written twice)");
  }
  EXPECT_EQ(dir.entries(), 0u) << "an unfinished file was left";
}

void write_one(const fs::path& path, const char* name) {
  SafetensorsWriter writer(path, {{name, Dtype::kU8, {4}}});
  writer.write(name, bytes_of("abcd"));
  writer.finish();
}

TEST(Safetensors, ReadsShardsThroughTheIndex) {
  const Scratch dir;
  write_one(dir / "s1.safetensors", "a");
  write_one(dir / "s2.safetensors", "b");
  const fs::path index = dir / "model.safetensors.index.json";
  spill(index, R"({"metadata":{"total_size":8},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  const TensorSet set = TensorSet::open_safetensors(index);
  ASSERT_NE(set.find("a"), nullptr);
  EXPECT_EQ(static_cast<char>(set.find("b")->bytes[3]), 'd');
  EXPECT_EQ(set.find("c"), nullptr);
}

TEST(Safetensors, NamesWhatAShardedIndexLacks) {
  const Scratch dir;
  write_one(dir / "s1.safetensors", "a");
  const auto open = [&](std::string_view index) {
    const fs::path path = dir / "i.index.json";
    spill(path, index);
    return refusal([&] { TensorSet::open_safetensors(path); });
  };
  const Error shard = open(R"({"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  EXPECT_EQ(shard.status(), SPF_NOT_FOUND);
  EXPECT_EQ(shard.value(), "s2.safetensors (missing, holds 1 tensors)");
  const Error tensor = open(R"({"weight_map":{"a":"s1.safetensors","b":"s1.safetensors"}})");
  EXPECT_EQ(tensor.status(), SPF_NOT_FOUND);
  EXPECT_EQ(tensor.field(), "b");
  EXPECT_EQ(open(R"({"weight_map":{"a":"../s1.safetensors"}})").field(), "weight_map.a");
  EXPECT_EQ(open(R"({"weight_map":{"a":7}})").field(), "weight_map.a");
  EXPECT_EQ(open(R"({"weights":{}})").field(), "weight_map");
  EXPECT_EQ(open("[").status(), SPF_CORRUPT_DATA);
}

} // namespace
} // namespace model_test

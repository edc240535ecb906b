// GGUF: every value type both ways, every damage refused by name.
#include "model/gguf.hpp"

#include <cstring>
#include <random>

#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish::model;

// Bytes of a file, put together by hand.
struct Raw {
  std::string bytes;
  template <class T>
  Raw& put(T v) {
    bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
    return *this;
  }
  Raw& text(std::string_view s) {
    put(uint64_t{s.size()});
    bytes += s;
    return *this;
  }
  Raw& head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    bytes += "GGUF";
    return put(version).put(tensors).put(keys);
  }
  Raw& tensor(std::string_view name, std::vector<uint64_t> innermost_first, uint32_t type, uint64_t offset) {
    text(name).put(static_cast<uint32_t>(innermost_first.size()));
    for (const uint64_t extent : innermost_first) put(extent);
    return put(type).put(offset);
  }
  Raw& data(size_t count, size_t alignment = 32) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    bytes.append(count, 'x');
    return *this;
  }
};

GgufFile parse(const Raw& raw) { return parse_gguf(bytes_of(raw.bytes), "t.gguf"); }
std::string refused_field(const Raw& raw) {
  const Error e = refusal([&] { parse(raw); });
  EXPECT_EQ(e.file(), "t.gguf");
  return e.field();
}

TEST(Gguf, ReadsTensorsOutermostFirst) {
  for (const uint32_t version : {2u, 3u}) {
    Raw raw;
    raw.head(2, 0, version).tensor("w", {64, 3}, 2, 0).tensor("b", {5}, 0, 128).data(148);
    const GgufFile file = parse(raw);
    EXPECT_EQ(file.tensors[0].shape, (std::vector<int64_t>{3, 64}));
    EXPECT_EQ(file.tensors[0].dtype, Dtype::kQ4_0);
    EXPECT_EQ(file.tensors[0].bytes.size(), 3u * 2 * 18);
    EXPECT_EQ(file.tensors[1].bytes.size(), 20u);
    EXPECT_EQ(file.tensors[1].bytes.data() + 20, bytes_of(raw.bytes).data() + raw.bytes.size());
  }
}

TEST(Gguf, RefusesDamageByName) {
  const auto with = [](auto&& f) {
    Raw raw;
    f(raw);
    return refused_field(raw);
  };
  EXPECT_EQ(with([](Raw& r) { r.bytes = "GGU"; }), "magic");
  EXPECT_EQ(with([](Raw& r) { r.bytes = "ggml"; }), "magic");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 0, 1); }), "version");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 0, 0x03000000); }), "version"); // big-endian
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0); }), "tensor count");
  EXPECT_EQ(with([](Raw& r) { r.head(UINT64_MAX, 0); }), "tensor count");
  EXPECT_EQ(with([](Raw& r) { r.head(0, UINT64_MAX); }), "metadata count");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).put(UINT64_MAX).put(0).put(0).put(0); }), "metadata key 0");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("k").put(13u).data(8, 1); }), "k type");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("key").put(10u).put(uint16_t{1}); }), "key");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("key").put(8u).put(uint64_t{99}); }), "key");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("key").put(7u).put(uint8_t{2}); }), "key");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("key").put(9u).put(4u).put(UINT64_MAX); }), "key count");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("key").put(9u).put(7u).put(uint64_t{1}).put(uint8_t{9}); }), "key");
  EXPECT_EQ(with([](Raw& r) {
              r.head(0, 1).text("key").put(9u);
              for (int i = 0; i < 6; ++i) r.put(9u).put(uint64_t{1});
              r.data(64, 1);
            }),
            "key");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 2).text("k").put(0u).put(uint8_t{1}).text("k").put(0u).put(uint8_t{1}); }),
            "metadata key");
  for (const uint32_t alignment : {0u, 4u, 24u, 1u << 20})
    EXPECT_EQ(with([&](Raw& r) { r.head(0, 1).text("general.alignment").put(4u).put(alignment); }),
              "general.alignment");
  EXPECT_EQ(with([](Raw& r) { r.head(0, 1).text("general.alignment").put(8u).text("32"); }), "general.alignment");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {1, 1, 1, 1, 1}, 0, 0).data(4); }), "w.rank");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {UINT64_MAX}, 0, 0).data(4); }), "w.shape");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {1u << 31, 1u << 31}, 0, 0).data(4); }), "w.shape");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {33}, 2, 0).data(40); }), "w.shape");
  for (const uint32_t type : {4u, 5u, 31u, 40u, 4000u})
    EXPECT_EQ(with([&](Raw& r) { r.head(1, 0).tensor("w", {32}, type, 0).data(400); }), "w.type");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {4}, 0, 8).data(40); }), "w.offset");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {4}, 0, 32).data(40); }), "w.offset");
  EXPECT_EQ(with([](Raw& r) { r.head(1, 0).tensor("w", {4}, 0, UINT64_MAX - 31).data(40); }), "w.offset");
  EXPECT_EQ(with([](Raw& r) { r.head(2, 0).tensor("v", {32}, 0, 0).tensor("w", {4}, 0, 96).data(200); }), "w.offset");
  EXPECT_EQ(with([](Raw& r) { r.head(2, 0).tensor("w", {4}, 0, 0).tensor("w", {4}, 0, 32).data(200); }), "tensor name");
}

GgufMetadata all_types() {
  GgufMetadata m;
  m.u8("u8", 200);
  m.i8("i8", -100);
  m.u16("u16", 60000);
  m.i16("i16", -30000);
  m.u32("u32", 4000000000u);
  m.i32("i32", -2000000000);
  m.u64("u64", UINT64_MAX);
  m.i64("i64", INT64_MIN);
  m.f32("f32", 1.5f);
  m.f64("f64", 0.1);
  m.boolean("bool", true);
  m.string("string", "h\u00e9llo");
  m.strings("strings", {"a", "", "bcd"});
  const float floats[] = {0.5f, -2.0f};
  m.numbers<float>("floats", GgufType::kF32, floats);
  const uint8_t flags[] = {1, 0, 1};
  m.numbers<uint8_t>("flags", GgufType::kBool, flags);
  m.numbers<int64_t>("none", GgufType::kI64, {});
  return m;
}

TEST(Gguf, MetadataRoundTripsInEveryType) {
  const Scratch dir;
  GgufWriter(dir / "m.gguf", all_types(), {}).finish();
  const Gguf file = Gguf::open(dir / "m.gguf");
  EXPECT_EQ(file.integer("u8", 0, 255), 200);
  EXPECT_EQ(file.integer("i8", -128, 127), -100);
  EXPECT_EQ(file.integer("u16", 0, 65535), 60000);
  EXPECT_EQ(file.integer("i16", -32768, 0), -30000);
  EXPECT_EQ(file.integer("u32", 0, UINT32_MAX), 4000000000);
  EXPECT_EQ(file.integer("i32", INT32_MIN, 0), -2000000000);
  EXPECT_EQ(std::get<uint64_t>(file.find("u64")->value), UINT64_MAX);
  EXPECT_EQ(file.integer("i64", INT64_MIN, 0), INT64_MIN);
  EXPECT_EQ(file.number("f32"), 1.5);
  EXPECT_EQ(file.number("f64"), 0.1);
  EXPECT_EQ(file.number("u8"), 200.0);
  EXPECT_TRUE(file.boolean("bool", false));
  EXPECT_TRUE(file.boolean("absent", true));
  EXPECT_EQ(file.string("string"), "h\u00e9llo");
  ASSERT_NE(file.array("strings"), nullptr);
  EXPECT_EQ(file.array("strings")->strings, (std::vector<std::string_view>{"a", "", "bcd"}));
  EXPECT_EQ(file.array("floats")->number(1), -2.0);
  EXPECT_EQ(file.array("flags")->integer(2), 1);
  EXPECT_EQ(file.array("none")->count, 0u);
  EXPECT_EQ(file.array("absent"), nullptr);
  // Access of another type, or out of range, names the key.
  for (const char* key : {"string", "f32", "bool", "floats", "absent", "u64"})
    EXPECT_EQ(refusal([&] { file.integer(key, INT64_MIN, INT64_MAX); }).field(), key);
  EXPECT_EQ(refusal([&] { file.integer("u8", 0, 199); }).value(), "200");
  EXPECT_EQ(refusal([&] { file.string("u8"); }).field(), "u8");
  EXPECT_EQ(refusal([&] { file.array("u8"); }).field(), "u8");
  EXPECT_EQ(refusal([&] { file.boolean("u8", true); }).field(), "u8");

  // Copied value by value, the metadata are the same bytes.
  GgufMetadata copy;
  for (const auto& [key, value] : file.file().metadata) copy.value(key, value);
  EXPECT_EQ(copy.bytes(), all_types().bytes());
}

TEST(Gguf, TensorsRoundTrip) {
  std::mt19937 random(3);
  const auto pick = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  constexpr Dtype kTypes[] = {Dtype::kF32,  Dtype::kF16,  Dtype::kBF16, Dtype::kQ4_0,
                              Dtype::kQ8_0, Dtype::kQ6_K, Dtype::kI32};
  for (int round = 0; round < 60; ++round) {
    const Scratch dir;
    std::vector<TensorSpec> specs;
    std::map<std::string, std::string> contents;
    for (int t = pick(7); t > 0; --t) {
      TensorSpec spec{"blk." + std::to_string(t), kTypes[pick(7)], {}};
      for (int d = pick(3); d > 0; --d) spec.shape.push_back(pick(5));
      spec.shape.push_back(dtype_info(spec.dtype).block_elements * pick(4));
      std::string data(*tensor_bytes(spec.dtype, spec.shape), '\0');
      for (char& c : data) c = static_cast<char>(pick(256));
      contents[spec.name] = data;
      specs.push_back(spec);
    }
    const uint32_t alignment = 8u << pick(6);
    GgufMetadata metadata;
    metadata.string("general.architecture", "llama");
    GgufWriter writer(dir / "w.gguf", metadata, specs, alignment);
    std::shuffle(specs.begin(), specs.end(), random);
    for (const TensorSpec& spec : specs) writer.write(spec.name, bytes_of(contents[spec.name]));
    writer.finish();
    EXPECT_EQ(fs::file_size(dir / "w.gguf") % alignment, 0u);
    const Gguf file = Gguf::open(dir / "w.gguf");
    EXPECT_EQ(file.file().alignment, alignment);
    for (const TensorSpec& spec : specs) {
      const TensorEntry* tensor = file.tensors().find(spec.name);
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->shape, spec.shape);
      EXPECT_EQ(tensor->dtype, spec.dtype);
      EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size()),
                contents[spec.name]);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->bytes.data()) % 8, 0u);
    }
  }
}

TEST(Gguf, EveryTruncationIsRefused) {
  const Scratch dir;
  GgufWriter writer(dir / "w.gguf", all_types(), {{"w", Dtype::kF32, {8}}});
  writer.write("w", bytes_of(std::string(32, 'x')));
  writer.finish();
  const std::string whole = slurp(dir / "w.gguf");
  for (size_t size = 0; size < whole.size(); ++size) refusal([&] { parse_gguf(bytes_of(whole).first(size), "t"); });
  EXPECT_EQ(parse_gguf(bytes_of(whole), "t").tensors.size(), 1u);
}

TEST(Gguf, WriterKeepsItsRules) {
  const Scratch dir;
  GgufMetadata metadata;
  metadata.u32("a", 1);
  EXPECT_EQ(refusal([&] { metadata.u32("a", 1); }).field(), "key");
  EXPECT_EQ(refusal([&] { metadata.u32("", 1); }).field(), "key");
  EXPECT_EQ(refusal([&] { GgufWriter(dir / "w", metadata, {}, 12); }).field(), "alignment");
  EXPECT_EQ(refusal([&] { GgufWriter(dir / "w", metadata, {{"w", Dtype::kF8E4M3, {4}}}); }).field(), "w.dtype");
  EXPECT_EQ(refusal([&] { GgufWriter(dir / "w", metadata, {{"w", Dtype::kQ4_K, {128}}}); }).field(), "w.shape");
  EXPECT_EQ(refusal([&] {
              GgufWriter(dir / "w", metadata, {{"w", Dtype::kF32, {1}}}).finish();
            }).value(),
            "w (not written)");
  EXPECT_EQ(dir.entries(), 0u);
}

} // namespace
} // namespace model_test

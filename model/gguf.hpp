// GGUF versions 2 and 3, little-endian: typed metadata, tensor descriptions, aligned data.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "model/safetensors.hpp"

namespace spearfish::model {

// Value types, by their numbers in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};
inline constexpr uint32_t kGgufTypeCount = 13;
const char* gguf_type_name(GgufType type);

struct GgufValue;

// An array of one type. Numbers stay where they are in the file; strings and nested arrays are views of it.
struct GgufArray {
  GgufType type = GgufType::kU8;
  uint64_t count = 0;
  Bytes numbers;                         // count elements, unaligned
  std::vector<std::string_view> strings; // type kString
  std::vector<GgufValue> arrays;         // type kArray

  int64_t integer(uint64_t i) const; // integer and bool types; a u64 beyond 2^63 - 1 wraps
  double number(uint64_t i) const;   // every numeric type
};

// One metadata value. Borrows the file's bytes.
struct GgufValue {
  GgufType type = GgufType::kU8;
  std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray> value;
};

struct GgufFile {
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<std::pair<std::string, GgufValue>> metadata; // in file order
  std::vector<TensorEntry> tensors;                        // in file order, shapes outermost first
};

// Parses a whole file. Refuses by name what is truncated, overlapping, oversized, duplicate, unaligned, of an unknown
// type or version, nested deeper than 4 arrays. Counts and lengths are checked against the bytes that are left before
// anything is allocated from them.
GgufFile parse_gguf(Bytes bytes, std::string_view file);

// An opened file: metadata by key, with typed access whose errors name the key.
class Gguf {
 public:
  static Gguf open(const std::filesystem::path& path);
  // Over bytes that the caller keeps.
  Gguf(Bytes bytes, std::string name);
  Gguf(const Gguf&) = delete; // keys_ looks into parsed_
  Gguf& operator=(const Gguf&) = delete;
  Gguf(Gguf&&) = default;
  Gguf& operator=(Gguf&&) = default;

  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // Any integer type that fits; Error if absent (where no fallback), of another type, or outside [lo, hi].
  int64_t integer(std::string_view key, int64_t lo, int64_t hi) const;
  int64_t integer(std::string_view key, int64_t lo, int64_t hi, int64_t fallback) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view fallback) const;
  const GgufArray* array(std::string_view key) const; // nullptr if absent; Error if not an array

  const GgufFile& file() const noexcept { return parsed_; }
  const TensorSet& tensors() const noexcept { return tensors_; }
  const std::string& name() const noexcept { return tensors_.name(); }

 private:
  Gguf(std::shared_ptr<const MappedFile> file, Bytes bytes, std::string name);
  [[noreturn]] void refuse(std::string_view key, std::string_view value, std::string_view allowed) const;
  GgufFile parsed_;
  std::unordered_map<std::string_view, size_t> keys_; // views of parsed_.metadata
  TensorSet tensors_;
};

// Metadata on its way into a file, in the order given. Each key once.
class GgufMetadata {
 public:
  void u8(std::string_view key, uint8_t v) { scalar(key, GgufType::kU8, v); }
  void i8(std::string_view key, int8_t v) { scalar(key, GgufType::kI8, v); }
  void u16(std::string_view key, uint16_t v) { scalar(key, GgufType::kU16, v); }
  void i16(std::string_view key, int16_t v) { scalar(key, GgufType::kI16, v); }
  void u32(std::string_view key, uint32_t v) { scalar(key, GgufType::kU32, v); }
  void i32(std::string_view key, int32_t v) { scalar(key, GgufType::kI32, v); }
  void u64(std::string_view key, uint64_t v) { scalar(key, GgufType::kU64, v); }
  void i64(std::string_view key, int64_t v) { scalar(key, GgufType::kI64, v); }
  void f32(std::string_view key, float v) { scalar(key, GgufType::kF32, v); }
  void f64(std::string_view key, double v) { scalar(key, GgufType::kF64, v); }
  void boolean(std::string_view key, bool v) { scalar(key, GgufType::kBool, static_cast<uint8_t>(v)); }
  void string(std::string_view key, std::string_view v);
  void strings(std::string_view key, const std::vector<std::string>& v);
  // A value read from another file, with all that it holds.
  void value(std::string_view key, const GgufValue& v);
  template <class T>
  void numbers(std::string_view key, GgufType type, std::span<const T> v) {
    array(key, type, v.size(), std::as_bytes(v));
  }

  uint64_t count() const noexcept { return keys_.size(); }
  const std::string& bytes() const noexcept { return bytes_; }

 private:
  template <class T>
  void scalar(std::string_view key, GgufType type, T v) {
    begin(key, type);
    bytes_.append(reinterpret_cast<const char*>(&v), sizeof v);
  }
  void begin(std::string_view key, GgufType type);
  void array(std::string_view key, GgufType type, uint64_t count, Bytes numbers);
  std::string bytes_;
  std::vector<std::string> keys_;
};

// Writes a version 3 file of tensors that are all declared first, in that order; bytes in any order. Nothing of that
// name may exist; the file appears at finish(), complete, or not at all. `alignment`: a power of two from 8 to 65536.
class GgufWriter {
 public:
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata, const std::vector<TensorSpec>& tensors,
             uint32_t alignment = 32);
  void write(std::string_view name, Bytes bytes);
  void finish();

 private:
  PlacedTensors tensors_;
  uint64_t end_ = 0; // of the file, padding included
  AtomicFile file_;
};

} // namespace spearfish::model

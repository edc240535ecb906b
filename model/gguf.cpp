#include "model/gguf.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "model/error.hpp"

namespace spearfish::model {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kMinVersion = 2, kMaxVersion = 3;
constexpr int kMaxRank = 4;
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kDefaultAlignment = 32, kMaxAlignment = 65536;
constexpr uint64_t kMaxKey = 65535; // of the format
constexpr const char* kAlignmentKey = "general.alignment";

struct TypeInfo {
  const char* name;
  uint64_t bytes; // of one number; the least that a string or array takes
};
constexpr TypeInfo kTypes[kGgufTypeCount] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                                             {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 8}, {"array", 12},
                                             {"u64", 8}, {"i64", 8}, {"f64", 8}};

const TypeInfo& info_of(GgufType type) { return kTypes[static_cast<uint32_t>(type)]; }

template <class T>
T load(const std::byte* at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  return v;
}

double number_at(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::kU8:
      return load<uint8_t>(at);
    case GgufType::kBool:
      return load<uint8_t>(at);
    case GgufType::kI8:
      return load<int8_t>(at);
    case GgufType::kU16:
      return load<uint16_t>(at);
    case GgufType::kI16:
      return load<int16_t>(at);
    case GgufType::kU32:
      return load<uint32_t>(at);
    case GgufType::kI32:
      return load<int32_t>(at);
    case GgufType::kF32:
      return static_cast<double>(load<float>(at));
    case GgufType::kU64:
      return static_cast<double>(load<uint64_t>(at));
    case GgufType::kI64:
      return static_cast<double>(load<int64_t>(at));
    case GgufType::kF64:
      return load<double>(at);
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

int64_t integer_at(GgufType type, const std::byte* at) {
  if (type == GgufType::kU64) return static_cast<int64_t>(load<uint64_t>(at));
  if (type == GgufType::kI64) return load<int64_t>(at);
  return static_cast<int64_t>(number_at(type, at));
}

bool is_integer(GgufType type) {
  return type != GgufType::kF32 && type != GgufType::kF64 && type != GgufType::kString && type != GgufType::kArray &&
         type != GgufType::kBool;
}

// A cursor that never reads past the end: every refusal names what was being read.
class Reader {
 public:
  Reader(Bytes bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  Bytes take(uint64_t count, const std::string& field) {
    if (count > left())
      throw Error(SPF_CORRUPT_DATA, file_, field, std::to_string(count) + " bytes at byte " + std::to_string(position_),
                  std::to_string(left()) + " bytes, what the file has left");
    const Bytes taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  template <class T>
  T number(const std::string& field) {
    return load<T>(take(sizeof(T), field).data());
  }
  // A count of things of which each takes at least `least` bytes.
  uint64_t count(uint64_t least, const std::string& field) {
    const uint64_t n = number<uint64_t>(field);
    if (n > left() / least)
      throw Error(SPF_CORRUPT_DATA, file_, field, std::to_string(n),
                  "at most " + std::to_string(left() / least) + ", what the file has room for");
    return n;
  }
  std::string_view string(const std::string& field) {
    const Bytes taken = take(number<uint64_t>(field + " length"), field);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  GgufType type(const std::string& field) {
    const uint32_t number_read = number<uint32_t>(field + " type");
    if (number_read >= kGgufTypeCount)
      throw Error(SPF_CORRUPT_DATA, file_, field + " type", std::to_string(number_read), "0 to 12");
    return static_cast<GgufType>(number_read);
  }
  void check_bool(uint8_t v, const std::string& field) const {
    if (v > 1) throw Error(SPF_CORRUPT_DATA, file_, field, std::to_string(v), "0 or 1, for a bool");
  }

  GgufArray array(const std::string& field, int depth) {
    if (depth > kMaxArrayDepth)
      throw Error(SPF_CORRUPT_DATA, file_, field, "nested deeper than " + std::to_string(kMaxArrayDepth) + " arrays",
                  "less");
    GgufArray result;
    result.type = type(field + " element");
    result.count = count(info_of(result.type).bytes, field + " count");
    if (result.type == GgufType::kString) {
      for (uint64_t i = 0; i < result.count; ++i) result.strings.push_back(string(field));
    } else if (result.type == GgufType::kArray) {
      for (uint64_t i = 0; i < result.count; ++i) result.arrays.push_back({GgufType::kArray, array(field, depth + 1)});
    } else {
      result.numbers = take(result.count * info_of(result.type).bytes, field);
      if (result.type == GgufType::kBool)
        for (const std::byte b : result.numbers) check_bool(static_cast<uint8_t>(b), field);
    }
    return result;
  }

  GgufValue value(const std::string& field) {
    const GgufType t = type(field);
    switch (t) {
      case GgufType::kString:
        return {t, string(field)};
      case GgufType::kArray:
        return {t, array(field, 1)};
      case GgufType::kBool: {
        const auto v = number<uint8_t>(field);
        check_bool(v, field);
        return {t, v != 0};
      }
      case GgufType::kF32:
      case GgufType::kF64:
        return {t, number_at(t, take(info_of(t).bytes, field).data())};
      case GgufType::kU64:
        return {t, number<uint64_t>(field)};
      default:
        return {t, integer_at(t, take(info_of(t).bytes, field).data())};
    }
  }

 private:
  Bytes bytes_;
  std::string_view file_;
  uint64_t position_ = 0;
};

uint64_t round_up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit * unit; }

bool alignment_fits(uint64_t a) { return a >= 8 && a <= kMaxAlignment && (a & (a - 1)) == 0; }

// A tensor's description; `offset` is relative to the data section, which is not known yet.
struct Description {
  TensorEntry entry;
  uint64_t offset = 0, bytes = 0;
};

Description read_tensor(Reader& reader, std::string_view file, uint64_t index) {
  Description result;
  TensorEntry& tensor = result.entry;
  tensor.name = std::string(reader.string("name of tensor " + std::to_string(index)));
  const std::string& name = tensor.name;
  const auto rank = reader.number<uint32_t>(name + ".rank");
  if (rank > static_cast<uint32_t>(kMaxRank))
    throw Error(SPF_CORRUPT_DATA, file, name + ".rank", std::to_string(rank), "0 to " + std::to_string(kMaxRank));
  for (uint32_t d = 0; d < rank; ++d) {
    const auto extent = reader.number<uint64_t>(name + ".shape");
    if (extent > static_cast<uint64_t>(INT64_MAX))
      throw Error(SPF_CORRUPT_DATA, file, name + ".shape", std::to_string(extent), "0 to 2^63 - 1");
    tensor.shape.push_back(static_cast<int64_t>(extent));
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end()); // the file names the innermost first
  const auto type = reader.number<uint32_t>(name + ".type");
  const auto dtype = dtype_from_gguf(type);
  if (!dtype)
    throw Error(SPF_UNSUPPORTED, file, name + ".type", std::to_string(type),
                "0 to 3, 6 to 30, 34, 35, 39, the tensor types of the format");
  tensor.dtype = *dtype;
  const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
  if (!bytes)
    throw Error(SPF_CORRUPT_DATA, file, name + ".shape", tensor.shape_text(),
                std::string("fewer than 2^62 bytes, rows of whole blocks of ") +
                    std::to_string(dtype_info(*dtype).block_elements) + " for " + dtype_info(*dtype).name);
  result.bytes = *bytes;
  result.offset = reader.number<uint64_t>(name + ".offset");
  return result;
}

void check_overlap(const std::vector<Description>& tensors, std::string_view file) {
  std::vector<const Description*> order;
  for (const Description& d : tensors)
    if (d.bytes > 0) order.push_back(&d);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const uint64_t end = order[i - 1]->offset + order[i - 1]->bytes;
    if (order[i]->offset < end)
      throw Error(SPF_CORRUPT_DATA, file, order[i]->entry.name + ".offset", std::to_string(order[i]->offset),
                  "at least " + std::to_string(end) + ", where " + order[i - 1]->entry.name + " ends");
  }
}

} // namespace

const char* gguf_type_name(GgufType type) { return info_of(type).name; }

int64_t GgufArray::integer(uint64_t i) const { return integer_at(type, numbers.data() + i * info_of(type).bytes); }
double GgufArray::number(uint64_t i) const { return number_at(type, numbers.data() + i * info_of(type).bytes); }

GgufFile parse_gguf(Bytes bytes, std::string_view file) {
  Reader reader(bytes, file);
  const Bytes magic = reader.take(kMagic.size(), "magic");
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
    throw Error(SPF_CORRUPT_DATA, file, "magic", std::string(reinterpret_cast<const char*>(magic.data()), magic.size()),
                "GGUF");
  GgufFile result;
  result.version = reader.number<uint32_t>("version");
  if (result.version < kMinVersion || result.version > kMaxVersion)
    throw Error(SPF_UNSUPPORTED, file, "version", std::to_string(result.version), "2 or 3, little-endian");
  // name length, rank, type, offset; key length, type and one byte of value
  const uint64_t tensor_count = reader.count(24, "tensor count");
  const uint64_t key_count = reader.count(13, "metadata count");

  std::unordered_set<std::string_view> names;
  for (uint64_t i = 0; i < key_count; ++i) {
    const std::string_view key = reader.string("metadata key " + std::to_string(i));
    if (key.size() > kMaxKey)
      throw Error(SPF_CORRUPT_DATA, file, "metadata key " + std::to_string(i), std::to_string(key.size()) + " bytes",
                  "at most " + std::to_string(kMaxKey));
    if (!names.insert(key).second) throw Error(SPF_CORRUPT_DATA, file, "metadata key", key, "each key once");
    result.metadata.emplace_back(std::string(key), reader.value(std::string(key)));
    if (key != kAlignmentKey) continue;
    const auto* alignment = std::get_if<int64_t>(&result.metadata.back().second.value);
    if (alignment == nullptr || !alignment_fits(static_cast<uint64_t>(*alignment)))
      throw Error(SPF_CORRUPT_DATA, file, kAlignmentKey, alignment ? std::to_string(*alignment) : "of another type",
                  "a power of two from 8 to 65536, as u32");
    result.alignment = static_cast<uint64_t>(*alignment);
  }

  names.clear();
  std::vector<Description> tensors;
  for (uint64_t i = 0; i < tensor_count; ++i) tensors.push_back(read_tensor(reader, file, i));
  for (const Description& d : tensors)
    if (!names.insert(d.entry.name).second)
      throw Error(SPF_CORRUPT_DATA, file, "tensor name", d.entry.name, "each name once");

  const uint64_t start = std::min<uint64_t>(round_up(reader.position(), result.alignment), bytes.size());
  const Bytes data = bytes.subspan(start);
  for (Description& d : tensors) {
    if (d.offset % result.alignment != 0)
      throw Error(SPF_CORRUPT_DATA, file, d.entry.name + ".offset", std::to_string(d.offset),
                  "multiples of " + std::to_string(result.alignment));
    if (d.bytes > data.size() || d.offset > data.size() - d.bytes)
      throw Error(SPF_CORRUPT_DATA, file, d.entry.name + ".offset",
                  std::to_string(d.offset) + " with " + std::to_string(d.bytes) + " bytes",
                  "an end of at most " + std::to_string(data.size()) + ", what the file holds");
    d.entry.bytes = data.subspan(d.offset, d.bytes);
  }
  check_overlap(tensors, file);
  result.tensors.reserve(tensors.size());
  for (Description& d : tensors) result.tensors.push_back(std::move(d.entry));
  return result;
}

// --- access ----------------------------------------------------------------------------------------------------------

Gguf Gguf::open(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  const Bytes bytes = file->bytes();
  std::string name = file->name();
  return {std::move(file), bytes, std::move(name)};
}

Gguf::Gguf(Bytes bytes, std::string name) : Gguf(nullptr, bytes, std::move(name)) {}

Gguf::Gguf(std::shared_ptr<const MappedFile> file, Bytes bytes, std::string name) : parsed_(parse_gguf(bytes, name)) {
  tensors_.set_name(std::move(name));
  tensors_.add(std::move(file), parsed_.tensors);
  for (size_t i = 0; i < parsed_.metadata.size(); ++i) keys_.emplace(parsed_.metadata[i].first, i);
}

void Gguf::refuse(std::string_view key, std::string_view value, std::string_view allowed) const {
  throw Error(SPF_CORRUPT_DATA, name(), key, value, allowed);
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto it = keys_.find(key);
  return it == keys_.end() ? nullptr : &parsed_.metadata[it->second].second;
}

int64_t Gguf::integer(std::string_view key, int64_t lo, int64_t hi) const {
  const std::string allowed = "an integer from " + std::to_string(lo) + " to " + std::to_string(hi);
  const GgufValue* v = find(key);
  if (v == nullptr) refuse(key, "missing", allowed);
  if (!is_integer(v->type)) refuse(key, std::string("of type ") + gguf_type_name(v->type), allowed);
  const auto* u = std::get_if<uint64_t>(&v->value);
  if (u != nullptr && *u > static_cast<uint64_t>(INT64_MAX)) refuse(key, std::to_string(*u), allowed);
  const int64_t n = u != nullptr ? static_cast<int64_t>(*u) : std::get<int64_t>(v->value);
  if (n < lo || n > hi) refuse(key, std::to_string(n), allowed);
  return n;
}

int64_t Gguf::integer(std::string_view key, int64_t lo, int64_t hi, int64_t fallback) const {
  return has(key) ? integer(key, lo, hi) : fallback;
}

double Gguf::number(std::string_view key) const {
  const GgufValue* v = find(key);
  if (v == nullptr) refuse(key, "missing", "a number");
  if (v->type != GgufType::kF32 && v->type != GgufType::kF64)
    return static_cast<double>(integer(key, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()));
  const double n = std::get<double>(v->value);
  if (!std::isfinite(n)) refuse(key, "not finite", "a number");
  return n;
}

double Gguf::number(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

bool Gguf::boolean(std::string_view key, bool fallback) const {
  const GgufValue* v = find(key);
  if (v == nullptr) return fallback;
  if (v->type != GgufType::kBool) refuse(key, std::string("of type ") + gguf_type_name(v->type), "a bool");
  return std::get<bool>(v->value);
}

std::string Gguf::string(std::string_view key) const {
  const GgufValue* v = find(key);
  if (v == nullptr) refuse(key, "missing", "a string");
  if (v->type != GgufType::kString) refuse(key, std::string("of type ") + gguf_type_name(v->type), "a string");
  return std::string(std::get<std::string_view>(v->value));
}

std::string Gguf::string(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

const GgufArray* Gguf::array(std::string_view key) const {
  const GgufValue* v = find(key);
  if (v == nullptr) return nullptr;
  if (v->type != GgufType::kArray) refuse(key, std::string("of type ") + gguf_type_name(v->type), "an array");
  return &std::get<GgufArray>(v->value);
}

// --- writing ---------------------------------------------------------------------------------------------------------

namespace {

template <class T>
void append(std::string& out, T v) {
  out.append(reinterpret_cast<const char*>(&v), sizeof v);
}

void append_string(std::string& out, std::string_view text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void append_array(std::string& out, const GgufArray& array) {
  append(out, static_cast<uint32_t>(array.type));
  append(out, array.count);
  for (const std::string_view text : array.strings) append_string(out, text);
  for (const GgufValue& inner : array.arrays) append_array(out, std::get<GgufArray>(inner.value));
  out.append(reinterpret_cast<const char*>(array.numbers.data()), array.numbers.size());
}

} // namespace

void GgufMetadata::begin(std::string_view key, GgufType type) {
  if (key.empty() || key.size() > kMaxKey || std::find(keys_.begin(), keys_.end(), key) != keys_.end())
    throw Error(SPF_INVALID_ARGUMENT, "GGUF metadata", "key", key, "1 to 65535 bytes, each key once");
  keys_.emplace_back(key);
  append_string(bytes_, key);
  append(bytes_, static_cast<uint32_t>(type));
}

void GgufMetadata::string(std::string_view key, std::string_view v) {
  begin(key, GgufType::kString);
  append_string(bytes_, v);
}

void GgufMetadata::strings(std::string_view key, const std::vector<std::string>& v) {
  begin(key, GgufType::kArray);
  append(bytes_, static_cast<uint32_t>(GgufType::kString));
  append(bytes_, static_cast<uint64_t>(v.size()));
  for (const std::string& text : v) append_string(bytes_, text);
}

void GgufMetadata::array(std::string_view key, GgufType type, uint64_t count, Bytes numbers) {
  if (numbers.size() != count * info_of(type).bytes || type == GgufType::kString || type == GgufType::kArray)
    throw Error(SPF_INVALID_ARGUMENT, "GGUF metadata", key, std::to_string(numbers.size()) + " bytes",
                std::to_string(count) + " elements of " + info_of(type).name);
  begin(key, GgufType::kArray);
  append_array(bytes_, {type, count, numbers, {}, {}});
}

void GgufMetadata::value(std::string_view key, const GgufValue& v) {
  begin(key, v.type);
  if (const auto* text = std::get_if<std::string_view>(&v.value)) return append_string(bytes_, *text);
  if (const auto* nested = std::get_if<GgufArray>(&v.value)) return append_array(bytes_, *nested);
  if (const auto* flag = std::get_if<bool>(&v.value)) return append(bytes_, static_cast<uint8_t>(*flag));
  if (v.type == GgufType::kF32) return append(bytes_, static_cast<float>(std::get<double>(v.value)));
  if (v.type == GgufType::kF64) return append(bytes_, std::get<double>(v.value));
  const uint64_t bits =
      v.type == GgufType::kU64 ? std::get<uint64_t>(v.value) : static_cast<uint64_t>(std::get<int64_t>(v.value));
  bytes_.append(reinterpret_cast<const char*>(&bits), info_of(v.type).bytes); // little-endian: the low bytes
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       const std::vector<TensorSpec>& tensors, uint32_t alignment)
    : tensors_(path.string()), file_(path) {
  const std::string& name = tensors_.file();
  if (!alignment_fits(alignment))
    throw Error(SPF_INVALID_ARGUMENT, name, "alignment", std::to_string(alignment), "a power of two from 8 to 65536");
  GgufMetadata extra;
  if (alignment != kDefaultAlignment) extra.u32(kAlignmentKey, alignment);
  std::string head(kMagic);
  append(head, kMaxVersion);
  append(head, static_cast<uint64_t>(tensors.size()));
  append(head, metadata.count() + extra.count());
  head += extra.bytes() + metadata.bytes();
  uint64_t end = 0;
  for (const TensorSpec& tensor : tensors) {
    const DtypeInfo& info = dtype_info(tensor.dtype);
    const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (info.gguf < 0)
      throw Error(SPF_INVALID_ARGUMENT, name, tensor.name + ".dtype", info.name, "a type that GGUF has");
    if (!bytes || tensor.shape.size() > static_cast<size_t>(kMaxRank))
      throw Error(SPF_INVALID_ARGUMENT, name, tensor.name + ".shape", shape_text(tensor.shape),
                  "rank at most 4, rows of whole blocks of " + std::to_string(info.block_elements));
    tensors_.place(tensor.name, end, *bytes);
    append_string(head, tensor.name);
    append(head, static_cast<uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      append(head, static_cast<uint64_t>(*extent));
    append(head, static_cast<uint32_t>(info.gguf));
    append(head, end);
    end = round_up(end + *bytes, alignment);
  }
  head.resize(round_up(head.size(), alignment), '\0');
  file_.write(0, std::as_bytes(std::span(head)));
  tensors_.shift(head.size());
  end_ = head.size() + end;
}

void GgufWriter::write(std::string_view name, Bytes bytes) { tensors_.write(file_, name, bytes); }

void GgufWriter::finish() {
  tensors_.check_complete();
  file_.extend(end_); // padding after the last tensor
  file_.commit();
}

} // namespace spearfish::model

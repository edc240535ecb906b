#include "model/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include "model/json.hpp"

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeader = 100'000'000; // the format's own limit
constexpr uint64_t kMaxIndex = 100'000'000;
constexpr uint64_t kDataAlignment = 64;
constexpr const char* kMetadataKey = "__metadata__";

static_assert(std::endian::native == std::endian::little,
              "tensors are read in place, as the little-endian bytes they are");

std::string all_dtypes() {
  std::string names;
  for (int i = 0; i < kDtypeCount; ++i)
    if (const char* name = dtype_info(static_cast<Dtype>(i)).safetensors)
      names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

struct Span {
  uint64_t begin, end;
};

Span read_offsets(const JsonObject& entry, uint64_t data_bytes) {
  const Json& offsets = entry.array("data_offsets");
  const bool two = offsets.size() == 2 && offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned();
  const std::string allowed = "[begin, end] with begin <= end <= " + std::to_string(data_bytes);
  if (!two) entry.refuse("data_offsets", shown(offsets), allowed, SPF_CORRUPT_DATA);
  const Span span{offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
  if (span.begin > span.end || span.end > data_bytes)
    entry.refuse("data_offsets", shown(offsets), allowed, SPF_CORRUPT_DATA);
  return span;
}

std::vector<int64_t> read_shape(const JsonObject& entry) {
  const Json& extents = entry.array("shape");
  if (extents.size() > static_cast<size_t>(kMaxFileRank))
    entry.refuse("shape", shown(extents), "at most " + std::to_string(kMaxFileRank) + " dimensions");
  std::vector<int64_t> shape;
  for (const Json& extent : extents) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
      entry.refuse("shape", shown(extents), "integers from 0 to 2^63 - 1", SPF_CORRUPT_DATA);
    shape.push_back(static_cast<int64_t>(extent.get<uint64_t>()));
  }
  return shape;
}

TensorEntry read_entry(const std::string& name, const Json& value, Bytes data, std::string_view file) {
  const JsonObject entry(value, std::string(file), name);
  TensorEntry tensor;
  tensor.name = name;
  const std::string dtype = entry.string("dtype");
  const auto known = dtype_from_safetensors(dtype);
  if (!known) entry.refuse("dtype", dtype, all_dtypes());
  tensor.dtype = *known;
  tensor.shape = read_shape(entry);
  const Span span = read_offsets(entry, data.size());
  const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
  if (!bytes) entry.refuse("shape", tensor.shape_text(), "whole bytes, fewer than 2^62 of them", SPF_CORRUPT_DATA);
  if (*bytes != span.end - span.begin)
    entry.refuse("data_offsets", std::to_string(span.end - span.begin) + " bytes",
                 std::to_string(*bytes) + " bytes for " + dtype + " " + tensor.shape_text(), SPF_CORRUPT_DATA);
  tensor.bytes = data.subspan(span.begin, *bytes);
  return tensor;
}

// Sorted by position, tensors must cover the data exactly.
void check_cover(const std::vector<TensorEntry>& tensors, Bytes data, std::string_view file) {
  const auto offset = [&](const TensorEntry& t) { return static_cast<uint64_t>(t.bytes.data() - data.data()); };
  uint64_t end = 0;
  for (const TensorEntry& tensor : tensors) {
    if (offset(tensor) != end)
      throw Error(SPF_CORRUPT_DATA, file, tensor.name + ".data_offsets", "a begin of " + std::to_string(offset(tensor)),
                  std::to_string(end) + ", where the tensor before it ends");
    end += tensor.bytes.size();
  }
  if (end != data.size())
    throw Error(SPF_CORRUPT_DATA, file, "file size", std::to_string(data.size()) + " bytes of data",
                std::to_string(end) + ", where the last tensor ends");
}

} // namespace

SafetensorsFile parse_safetensors(Bytes bytes, std::string_view file) {
  if (bytes.size() < kLengthBytes)
    throw Error(SPF_CORRUPT_DATA, file, "file size", std::to_string(bytes.size()) + " bytes", "at least 8");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const uint64_t room = std::min<uint64_t>(bytes.size() - kLengthBytes, kMaxHeader);
  if (length < 2 || length > room)
    throw Error(SPF_CORRUPT_DATA, file, "header length", std::to_string(length),
                "2 to " + std::to_string(room) + ", what the file holds");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data() + kLengthBytes), length);
  if (text.front() != '{')
    throw Error(SPF_CORRUPT_DATA, file, "header", "not a JSON object", "text that begins with {");
  const Json header = parse_json(text, file);
  const JsonObject checked(header, std::string(file), "");
  const Bytes data = bytes.subspan(kLengthBytes + length);

  SafetensorsFile result;
  result.tensors.reserve(header.size());
  for (const auto& [name, value] : header.items()) {
    if (name != kMetadataKey) {
      result.tensors.push_back(read_entry(name, value, data, file));
      continue;
    }
    const JsonObject metadata = checked.object(kMetadataKey);
    for (const auto& [key, item] : metadata.json().items()) result.metadata[key] = metadata.string(key);
  }
  std::stable_sort(result.tensors.begin(), result.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    // An empty tensor lies before the one that begins at the same byte.
    return a.bytes.data() != b.bytes.data() ? a.bytes.data() < b.bytes.data() : a.bytes.size() < b.bytes.size();
  });
  check_cover(result.tensors, data, file);
  return result;
}

// --- sets of files ---------------------------------------------------------------------------------------------------

void TensorSet::add(std::shared_ptr<const MappedFile> file, std::vector<TensorEntry> tensors) {
  for (TensorEntry& tensor : tensors) {
    if (!index_.emplace(tensor.name, tensors_.size()).second)
      throw Error(SPF_CORRUPT_DATA, file ? file->name() : name_, "tensor name", tensor.name,
                  "a name that is not in another file");
    tensors_.push_back(std::move(tensor));
  }
  if (file) files_.push_back(std::move(file));
}

const TensorEntry* TensorSet::find(std::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

TensorSet TensorSet::open_safetensors(const fs::path& path) {
  TensorSet set;
  set.name_ = path.string();
  if (path.extension() != ".json") {
    auto file = MappedFile::open(path);
    SafetensorsFile parsed = parse_safetensors(file->bytes(), file->name());
    set.metadata_ = std::move(parsed.metadata);
    set.add(std::move(file), std::move(parsed.tensors));
    return set;
  }

  const Json document = parse_json(read_text(path, kMaxIndex), set.name_);
  const JsonObject index(document, set.name_, "");
  const JsonObject map = index.object("weight_map");
  std::map<std::string, std::set<std::string>> shards; // file name -> tensors that the index puts there
  for (const auto& [tensor, value] : map.json().items()) {
    const std::string shard = map.string(tensor);
    if (shard.empty() || shard == "." || shard == ".." ||
        shard.find_first_of(std::string("/\\\0", 3)) != std::string::npos)
      map.refuse(tensor, shard, "the name of a file in the index's folder", SPF_CORRUPT_DATA);
    shards[shard].insert(tensor);
  }
  for (auto& [shard, wanted] : shards) {
    const fs::path shard_path = path.parent_path() / shard;
    if (!fs::exists(shard_path))
      throw Error(SPF_NOT_FOUND, set.name_, "shard",
                  shard + " (missing, holds " + std::to_string(wanted.size()) + " tensors)",
                  "every file of weight_map");
    auto file = MappedFile::open(shard_path);
    SafetensorsFile parsed = parse_safetensors(file->bytes(), file->name());
    std::erase_if(parsed.tensors, [&wanted = wanted](const TensorEntry& t) { return wanted.erase(t.name) == 0; });
    if (!wanted.empty())
      throw Error(SPF_NOT_FOUND, shard_path.string(), *wanted.begin(), "missing",
                  "every tensor that the index puts into this file");
    set.add(std::move(file), std::move(parsed.tensors));
  }
  return set;
}

// --- writing ---------------------------------------------------------------------------------------------------------

SafetensorsWriter::SafetensorsWriter(const fs::path& path, std::vector<TensorSpec> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : tensors_(path.string()), file_(path) {
  const std::string& name = tensors_.file();
  std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
    const int32_t left = dtype_info(a.dtype).block_bytes, right = dtype_info(b.dtype).block_bytes;
    return left != right ? left > right : a.name < b.name;
  });
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t end = 0;
  for (const TensorSpec& tensor : tensors) {
    const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
    const char* dtype = dtype_info(tensor.dtype).safetensors;
    if (dtype == nullptr)
      throw Error(SPF_INVALID_ARGUMENT, name, tensor.name + ".dtype", dtype_info(tensor.dtype).name, all_dtypes());
    if (!bytes || tensor.shape.size() > static_cast<size_t>(kMaxFileRank))
      throw Error(SPF_INVALID_ARGUMENT, name, tensor.name + ".shape", shape_text(tensor.shape),
                  "whole bytes, rank at most 8");
    if (tensor.name == kMetadataKey)
      throw Error(SPF_INVALID_ARGUMENT, name, "tensor name", tensor.name, "any other name");
    tensors_.place(tensor.name, end, *bytes);
    header[tensor.name] = {{"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {end, end + *bytes}}};
    end += *bytes;
  }
  std::string text = header.dump();
  text.append((kDataAlignment - (text.size() + kLengthBytes) % kDataAlignment) % kDataAlignment, ' ');
  const uint64_t length = text.size();
  file_.write(0, std::as_bytes(std::span(&length, 1)));
  file_.write(kLengthBytes, std::as_bytes(std::span(text)));
  tensors_.shift(kLengthBytes + length);
}

void SafetensorsWriter::write(std::string_view name, Bytes bytes) { tensors_.write(file_, name, bytes); }

void SafetensorsWriter::finish() {
  tensors_.check_complete();
  file_.commit();
}

} // namespace spearfish::model

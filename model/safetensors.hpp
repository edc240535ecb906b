// safetensors: 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/dtype.hpp"
#include "model/placed_tensors.hpp"

namespace spearfish::model {

// What a file declares. Entries borrow the bytes that were parsed.
struct SafetensorsFile {
  std::vector<TensorEntry> tensors; // in the order of their bytes
  std::map<std::string, std::string> metadata;
};

// Parses a whole file. Refuses, naming file, tensor, field, value and what is allowed: a header that is longer than the
// file or than 100 MB, that is not JSON, an unknown dtype, a rank above 8, a shape whose bytes overflow or are not
// those of data_offsets, data that overlap, leave a hole, or do not end where the file ends, a name that stands twice.
// Nothing is allocated from a number of the header before that number has been checked against the file's size.
SafetensorsFile parse_safetensors(Bytes bytes, std::string_view file);

// One file or a sharded index, opened: tensors by name, with the mappings that keep them alive.
class TensorSet {
 public:
  // "*.safetensors": that file. "*.index.json": every shard that it names; a tensor belongs to the shard that the index
  // says, a shard or a tensor that is missing there is an Error (SPF_NOT_FOUND).
  static TensorSet open_safetensors(const std::filesystem::path& path);

  // Takes a parsed file over. Error (SPF_CORRUPT_DATA) if a name is there already.
  void add(std::shared_ptr<const MappedFile> file, std::vector<TensorEntry> tensors);

  const TensorEntry* find(std::string_view name) const; // nullptr if absent
  const std::vector<TensorEntry>& tensors() const noexcept { return tensors_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  const std::string& name() const noexcept { return name_; } // of the file or index, for messages
  void set_name(std::string name) { name_ = std::move(name); }

 private:
  std::string name_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<TensorEntry> tensors_;
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

// A tensor that is going to be written.
struct TensorSpec {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
};

// Writes a file of tensors that are all declared first; their bytes may come in any order. The data are laid out by
// falling element size, then name, so that each is aligned to its elements and equal input gives an equal file.
// Nothing of that name may exist; the file appears at finish(), complete, or not at all.
class SafetensorsWriter {
 public:
  // Error (SPF_INVALID_ARGUMENT): a name twice, a dtype that safetensors has no name for, a shape that overflows.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  // All bytes of one tensor. Error if the name was not declared, came before, or has another size.
  void write(std::string_view name, Bytes bytes);
  // Error if a tensor has not been written.
  void finish();

 private:
  PlacedTensors tensors_;
  AtomicFile file_;
};

} // namespace spearfish::model

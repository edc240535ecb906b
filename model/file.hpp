// Files: read-only mappings, and writing that leaves either the whole file or none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace spearfish::model {

using Bytes = std::span<const std::byte>;

// A whole file, mapped for reading. Moves, never copies; views into it are valid while it lives. Another process that
// shortens the file meanwhile breaks the views, as with any mapping.
class MappedFile {
 public:
  // Throws Error: SPF_NOT_FOUND if there is no such file, SPF_INVALID_ARGUMENT if it is not a regular file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const noexcept { return bytes_; }
  const std::string& name() const noexcept { return name_; } // as given, for messages

 private:
  MappedFile(std::string name, Bytes bytes) : name_(std::move(name)), bytes_(bytes) {}
  std::string name_;
  Bytes bytes_;
};

// The whole text of a small file; Error if it is longer than `limit` bytes.
std::string read_text(const std::filesystem::path& path, uint64_t limit);

// A file that appears at once, complete, or never. Bytes go to a hidden file in the same folder; commit() forces them
// to the disk and gives the file its name, unless a file of that name exists: that is never replaced. Without commit()
// the destructor removes what was written.
class AtomicFile {
 public:
  // Error (SPF_INVALID_ARGUMENT) if `path` exists already.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Writes at an offset from the start; bytes never written read as zero.
  void write(uint64_t offset, Bytes bytes);
  // Makes the file at least `bytes` long, with zeros.
  void extend(uint64_t bytes);
  // Forces to disk and names the file. Once.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

// A folder that appears at once, complete, or never. Its files are written into a hidden folder beside it,
// ".NAME.partial"; commit() forces that to the disk and renames it, unless something of that name exists: that is never
// replaced. Without commit() the destructor removes it. What a killed process left there is removed by the next one.
class OutputFolder {
 public:
  // Error (SPF_INVALID_ARGUMENT) if `path` exists already, or if another process is writing it.
  explicit OutputFolder(std::filesystem::path path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& folder() const noexcept { return temporary_; } // where to write
  void commit();                                                              // once

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1; // of the hidden folder, locked
};

// A small file, whole or not at all, as AtomicFile does it.
void write_text(const std::filesystem::path& path, std::string_view text);

} // namespace spearfish::model

#include "model/file.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "model/error.hpp"

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view call) {
  const int code = errno;
  const spf_status status = code == ENOENT ? SPF_NOT_FOUND : SPF_DEVICE_ERROR;
  throw Error(status, path.string(), std::string("cannot ").append(call) + ": " + std::strerror(code), "", "");
}

// Renames a file or a folder only if nothing has the new name.
int rename_new(const fs::path& from, const fs::path& to) {
#ifdef SYS_renameat2
  constexpr unsigned kNoReplace = 1; // RENAME_NOREPLACE of <linux/fs.h>
  if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), kNoReplace) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -1;
#endif
  std::error_code ignored;
  if (fs::is_directory(from, ignored)) return ::rename(from.c_str(), to.c_str()); // refuses a folder that is not empty
  if (::link(from.c_str(), to.c_str()) != 0) return -1;
  return ::unlink(from.c_str());
}

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return; // readable folders only; the file itself is on the disk already
  ::fsync(descriptor);
  ::close(descriptor);
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// Links that lead nowhere count: they would be written through.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

} // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "open");
  struct stat facts = {};
  const bool known = ::fstat(descriptor, &facts) == 0;
  if (!known || !S_ISREG(facts.st_mode)) {
    ::close(descriptor);
    if (!known) fail(path, "fstat");
    throw Error(SPF_INVALID_ARGUMENT, path.string(), "file type", "not a regular file", "a regular file");
  }
  const size_t size = static_cast<size_t>(facts.st_size);
  const void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int code = errno;
    ::close(descriptor);
    errno = code;
    if (data == MAP_FAILED) fail(path, "mmap");
  } else {
    ::close(descriptor);
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path.string(), Bytes(static_cast<const std::byte*>(data), size)));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::string read_text(const fs::path& path, uint64_t limit) {
  const auto file = MappedFile::open(path);
  if (file->bytes().size() > limit)
    throw Error(SPF_CORRUPT_DATA, path.string(), "file size", std::to_string(file->bytes().size()) + " bytes",
                "at most " + std::to_string(limit));
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  if (is_there(path_))
    throw Error(SPF_INVALID_ARGUMENT, path_.string(), "output file", "there already", "a name that is free");
  const std::string stem = "." + path_.filename().string() + ".partial-" + std::to_string(::getpid());
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = folder_of(path_) / (stem + (attempt == 0 ? "" : "-" + std::to_string(attempt)));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) fail(temporary_, "create");
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(uint64_t offset, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "write");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
}

void AtomicFile::extend(uint64_t bytes) {
  struct stat facts = {};
  if (::fstat(descriptor_, &facts) != 0) fail(path_, "fstat");
  if (static_cast<uint64_t>(facts.st_size) >= bytes) return;
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) fail(path_, "ftruncate");
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail(path_, "fsync");
  if (rename_new(temporary_, path_) != 0) {
    if (errno == EEXIST)
      throw Error(SPF_INVALID_ARGUMENT, path_.string(), "output file", "there already", "a name that is free");
    fail(path_, "rename");
  }
  ::close(descriptor_);
  descriptor_ = -1;
  sync_folder(folder_of(path_));
}

OutputFolder::OutputFolder(fs::path path) : path_(std::move(path)) {
  if (!path_.has_filename()) path_ = path_.parent_path(); // "out/"
  if (is_there(path_))
    throw Error(SPF_INVALID_ARGUMENT, path_.string(), "output folder", "there already", "a name that is free");
  temporary_ = folder_of(path_) / ("." + path_.filename().string() + ".partial");
  const bool made = ::mkdir(temporary_.c_str(), 0777) == 0;
  if (!made && errno != EEXIST) fail(temporary_, "create");
  descriptor_ = ::open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) fail(temporary_, "open");
  // Locked, and still what the name stands for: nobody else writes there, and nobody has renamed it away meanwhile.
  struct stat mine = {}, named = {};
  const bool locked = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 && ::fstat(descriptor_, &mine) == 0 &&
                      ::stat(temporary_.c_str(), &named) == 0 && mine.st_ino == named.st_ino;
  if (!locked) {
    ::close(descriptor_);
    throw Error(SPF_INVALID_ARGUMENT, path_.string(), "output folder", "being written by another process",
                "a name that is free");
  }
  for (const auto& entry : fs::directory_iterator(temporary_)) fs::remove_all(entry.path());
}

OutputFolder::~OutputFolder() {
  if (descriptor_ < 0) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  ::close(descriptor_);
}

void OutputFolder::commit() {
  if (::fsync(descriptor_) != 0) fail(temporary_, "fsync");
  if (rename_new(temporary_, path_) != 0) {
    if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
      throw Error(SPF_INVALID_ARGUMENT, path_.string(), "output folder", "there already", "a name that is free");
    fail(path_, "rename");
  }
  ::close(descriptor_);
  descriptor_ = -1;
  sync_folder(folder_of(path_));
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(0, std::as_bytes(std::span(text)));
  file.commit();
}

} // namespace spearfish::model

// Tensors of a file that is being written: where each lies, and which are still missing.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "model/dtype.hpp"
#include "model/error.hpp"

namespace spearfish::model {

class PlacedTensors {
 public:
  explicit PlacedTensors(std::string file) : file_(std::move(file)) {}

  // Declares a tensor at an offset of the file. Error if the name was declared before.
  void place(const std::string& name, uint64_t offset, uint64_t bytes) {
    if (!slots_.emplace(name, Slot{offset, bytes, bytes == 0}).second)
      throw Error(SPF_INVALID_ARGUMENT, file_, "tensor name", name, "each name once");
  }
  // Moves every place by the size of what stands before the data.
  void shift(uint64_t bytes) {
    for (auto& [name, slot] : slots_) slot.offset += bytes;
  }
  void write(AtomicFile& file, std::string_view name, Bytes bytes) {
    const auto it = slots_.find(std::string(name));
    if (it == slots_.end()) throw Error(SPF_INVALID_ARGUMENT, file_, "tensor name", name, "one of those declared");
    Slot& slot = it->second;
    if (slot.written && slot.bytes > 0)
      throw Error(SPF_INVALID_ARGUMENT, file_, "tensor", std::string(name) + " (written twice)", "one write each");
    if (bytes.size() != slot.bytes)
      throw Error(SPF_INVALID_ARGUMENT, file_, std::string(name) + " size", std::to_string(bytes.size()) + " bytes",
                  std::to_string(slot.bytes));
    file.write(slot.offset, bytes);
    slot.written = true;
  }
  void check_complete() const {
    for (const auto& [name, slot] : slots_)
      if (!slot.written)
        throw Error(SPF_INVALID_ARGUMENT, file_, "tensor", name + " (not written)", "every declared tensor");
  }
  const std::string& file() const noexcept { return file_; }

 private:
  struct Slot {
    uint64_t offset, bytes;
    bool written;
  };
  std::string file_;
  std::unordered_map<std::string, Slot> slots_;
};

} // namespace spearfish::model

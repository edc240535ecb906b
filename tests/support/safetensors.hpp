// Reads a small safetensors file into memory: u64 header length, JSON header, data. Tests only; trusts its input.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace support {

struct GoldenTensor {
  std::string dtype; // "F16", "I32", ...
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;

  // The elements as T; sizeof(T) must be that of the dtype.
  template <class T>
  std::vector<T> as() const {
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
};

class Safetensors {
 public:
  explicit Safetensors(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot open " + path);
    std::vector<char> all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    uint64_t length;
    std::memcpy(&length, all.data(), sizeof length);
    header_ = nlohmann::json::parse(all.data() + 8, all.data() + 8 + length);
    data_.assign(all.begin() + 8 + static_cast<std::ptrdiff_t>(length), all.end());
  }

  GoldenTensor operator[](const std::string& name) const {
    const nlohmann::json& entry = header_.at(name);
    GoldenTensor t;
    t.dtype = entry.at("dtype");
    t.shape = entry.at("shape").get<std::vector<int64_t>>();
    const auto span = entry.at("data_offsets").get<std::vector<int64_t>>();
    t.bytes.assign(data_.begin() + span[0], data_.begin() + span[1]);
    return t;
  }

 private:
  nlohmann::json header_;
  std::vector<uint8_t> data_;
};

// The vectors under tests/data, read once.
inline const Safetensors& goldens() {
  static const Safetensors file(SPF_TEST_DATA "/vllm_ops.safetensors");
  return file;
}

} // namespace support

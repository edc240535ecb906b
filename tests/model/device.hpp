// What the tests of the runner run on and read: the device of --device, and the tree that the models lie in.
#pragma once

#include <filesystem>

#include "model/runner.hpp"

namespace model_test {

spearfish::Device device(); // the CPU unless --device says otherwise

// Default options on that device.
inline spearfish::model::RunnerOptions options_here() {
  spearfish::model::RunnerOptions options;
  options.device = device();
  return options;
}

// The source tree; SPEARFISH_SOURCE_DIR where the program runs on another machine than the one that built it.
std::filesystem::path source_dir();

} // namespace model_test

// Checks of numbers on the command line, whose sentences say what is allowed.
#pragma once

#include <cstdint>
#include <limits>

#include <CLI/CLI.hpp>

namespace spearfish::cli {

// A whole number from `least` to `most`.
CLI::Validator whole_number(int64_t least, int64_t most = std::numeric_limits<int64_t>::max());

// A finite number from `least` to `most`.
CLI::Validator number(double least, double most = std::numeric_limits<double>::max());

// A finite number above 0.
CLI::Validator positive_number();

} // namespace spearfish::cli

#include "numbers.hpp"

#include <charconv>
#include <cmath>
#include <optional>
#include <string>

#include <fmt/format.h>

namespace spearfish::cli {
namespace {

std::optional<double> finite(const std::string& text) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return used == text.size() && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

} // namespace

CLI::Validator whole_number(int64_t least, int64_t most) {
  return {[least, most](const std::string& text) -> std::string {
            int64_t value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool whole = end == text.data() + text.size();
            if (whole && error == std::errc::result_out_of_range && text.front() != '-')
              return fmt::format("'{}' is above {}", text, most);
            if (whole && error == std::errc() && value >= least && value <= most) return "";
            const bool open = most == std::numeric_limits<int64_t>::max();
            return fmt::format("'{}' is not a whole number {}", text,
                               open ? fmt::format("of {} or more", least) : fmt::format("from {} to {}", least, most));
          },
          ""};
}

CLI::Validator number(double least, double most) {
  return {[least, most](const std::string& text) -> std::string {
            const std::optional<double> value = finite(text);
            if (value && *value >= least && *value <= most) return "";
            const bool open = most == std::numeric_limits<double>::max();
            return fmt::format(
                "'{}' is not a number {}", text,
                open ? fmt::format("of {:g} or more", least) : fmt::format("from {:g} to {:g}", least, most));
          },
          ""};
}

CLI::Validator positive_number() {
  return {[](const std::string& text) -> std::string {
            const std::optional<double> value = finite(text);
            return value && *value > 0 ? "" : fmt::format("'{}' is not a number above 0", text);
          },
          ""};
}

} // namespace spearfish::cli

#include "terminal.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <unistd.h>

namespace spearfish::cli {
namespace {

bool colour_on(int descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(descriptor) != 0 && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

const char* escape(Colour colour) {
  switch (colour) {
    case Colour::kGood:
      return "\033[32m";
    case Colour::kBad:
      return "\033[31m";
    case Colour::kWarn:
      return "\033[33m";
    case Colour::kDim:
      return "\033[2m";
    case Colour::kBold:
      return "\033[1m";
    default:
      return "";
  }
}

// Columns that a UTF-8 text takes: its code points (nothing we print is wider).
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

} // namespace

bool colour_on_stdout() {
  static const bool on = colour_on(STDOUT_FILENO);
  return on;
}

bool colour_on_stderr() {
  static const bool on = colour_on(STDERR_FILENO);
  return on;
}

std::string paint(Colour colour, std::string_view text) {
  if (colour == Colour::kNone || !colour_on_stdout()) return std::string(text);
  return fmt::format("{}{}\033[0m", escape(colour), text);
}

void Table::add(const std::vector<Cell>& row) {
  std::vector<std::vector<Cell>> lines(1, std::vector<Cell>(columns_.size(), Cell("")));
  for (size_t c = 0; c < row.size() && c < columns_.size(); ++c) {
    std::string rest = row[c].text;
    for (size_t line = 0;; ++line) {
      if (line == lines.size()) lines.emplace_back(columns_.size(), Cell(""));
      const size_t wrap = columns_[c].wrap;
      size_t end = rest.size();
      if (wrap > 0 && width_of(rest) > wrap) {
        end = rest.rfind(' ', wrap);
        if (end == std::string::npos) end = std::min(rest.find(' '), rest.size());
      }
      lines[line][c] = Cell(rest.substr(0, end), row[c].colour);
      if (end == rest.size()) break;
      rest = rest.substr(end + 1);
    }
  }
  for (std::vector<Cell>& line : lines) rows_.push_back(std::move(line));
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = width_of(columns_[c].heading);
    for (const auto& row : rows_) width = std::max(width, width_of(row[c].text));
    widths.push_back(width);
  }
  std::string out;
  const auto line = [&](auto cell_text, auto cell_colour) {
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string& text = cell_text(c);
      const std::string blanks(widths[c] - width_of(text), ' ');
      if (c > 0) out += "  ";
      if (columns_[c].right) out += blanks;
      out += paint(cell_colour(c), text);
      if (!columns_[c].right && c + 1 < columns_.size()) out += blanks;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  line([&](size_t c) -> const std::string& { return columns_[c].heading; }, [](size_t) { return Colour::kBold; });
  for (const auto& row : rows_)
    line([&](size_t c) -> const std::string& { return row[c].text; }, [&](size_t c) { return row[c].colour; });
  return out;
}

Progress::Progress(size_t total) : total_(total), visible_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (visible_) std::fputs("\r\033[K", stderr);
}

void Progress::show(size_t done, std::string_view what) {
  if (!visible_) return;
  constexpr size_t kWidth = 24;
  const size_t filled = total_ == 0 ? kWidth : kWidth * std::min(done, total_) / total_;
  fmt::print(stderr, "\r\033[K[{}{}] {}/{} {}", std::string(filled, '#'), std::string(kWidth - filled, '.'), done,
             total_, what);
  std::fflush(stderr);
}

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

} // namespace spearfish::cli

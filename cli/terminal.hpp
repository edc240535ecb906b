// What goes to the terminal: colour, tables and progress. Plain text when the stream is no terminal or NO_COLOR is set.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace spearfish::cli {

enum class Colour { kNone, kGood, kBad, kWarn, kDim, kBold };

// True if standard output (standard error) is a terminal, TERM is not "dumb" and NO_COLOR is unset or empty.
bool colour_on_stdout();
bool colour_on_stderr();

// `text` in a colour for standard output; unchanged where there is no colour.
std::string paint(Colour colour, std::string_view text);

struct Cell {
  std::string text;
  Colour colour = Colour::kNone;

  Cell(std::string t, Colour c = Colour::kNone) : text(std::move(t)), colour(c) {}
  Cell(const char* t, Colour c = Colour::kNone) : text(t), colour(c) {}
};

// A table with a heading row. Columns are as wide as their widest cell, or at most `wrap` where that is not 0: longer
// cells go on in the next line, broken at blanks. `right` columns are aligned right.
class Table {
 public:
  struct Column {
    std::string heading;
    bool right = false;
    size_t wrap = 0;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(const std::vector<Cell>& row);
  // The whole table, a newline after each row. No trailing blanks.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// A progress line on standard error, drawn only on a terminal and erased when done.
class Progress {
 public:
  explicit Progress(size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // `done` of the total, with a word on what runs now.
  void show(size_t done, std::string_view what);

 private:
  size_t total_;
  bool visible_;
};

// "1.5 KiB", "3.2 GiB".
std::string bytes_text(double bytes);

} // namespace spearfish::cli

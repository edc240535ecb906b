// Target lists in every spelling users have:
//
//   native all all-major                 the GPUs of this machine; every CUDA row that the toolkit compiles; the first
//   of each major 90 90a 9.0 9.0a 12.0f sm_90a sm90    machine code of one target 90a-real the same; 90-virtual,
//   compute_90: PTX alone 8.0+PTX                              machine code and PTX hopper, "Ampere" every row of a
//   generation avx512_vnni, gfx942, gfx90a:xnack-   CPU and HIP rows
//
// separated by ';', ',' or blanks, as in CMAKE_CUDA_ARCHITECTURES and TORCH_CUDA_ARCH_LIST.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/target.hpp"

namespace spf::arch {

// What a list is read against.
struct ListContext {
  const ArchTable* table = nullptr;
  Version toolkit;                // bounds `all`; {0, 0}: the newest that the table knows
  std::span<const Target> native; // GPUs of this machine
};

struct ParsedList {
  std::vector<Target> targets; // canonical: ascending, no duplicates
  std::string error;           // "" if the list is good; then one sentence that names the word, and what is known
};

// Syntax alone: "9.0a", "sm_90a", "90-virtual", ... without asking whether such a target exists.
std::optional<Target> parse_cuda_spelling(std::string_view word);

// "13.0", "12.9.1" -> 13.0, 12.9. Nothing for anything else.
std::optional<Version> parse_version(std::string_view text);

// One word, known to the table. Words that stand for several targets ("all", "hopper") are not taken here.
ParsedList parse_target(std::string_view word, const ListContext& context);

ParsedList parse_list(std::string_view list, const ListContext& context);

} // namespace spf::arch

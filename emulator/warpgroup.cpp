// What four warps have to do alike: the registers that they give and take, and the operands that they multiply.
#include "emulator/block.hpp"

namespace spf::emulated {
namespace {

// Of a multiprocessor.
constexpr int kRegisters = 64 * 1024, kMostOfThread = 255;

Warpgroup& warpgroup() { return current->block->warpgroups[static_cast<size_t>(current->number / 128)]; }

struct RegisterChange {
  int count;
  bool more;
};

void change_registers(RegisterChange* const (&lanes)[32], uint32_t mask) {
  const RegisterChange& asked = *lanes[current->lane];
  Block& block = *current->block;
  Warp& warp = *current->warp;
  const std::string what = asked.more ? "setmaxnreg.inc" : "setmaxnreg.dec", count = std::to_string(asked.count);
  if (mask != 0xffffffffu) fault(what + " without all lanes of the warp");
  if (asked.count % 8 != 0 || asked.count < 24 || asked.count > 256)
    fault(what + " " + count + ": counts are multiples of 8 from 24 to 256");
  if (asked.more ? asked.count < warp.registers : asked.count > warp.registers)
    fault(what + " " + count + " of a warp that has " + std::to_string(warp.registers) + " registers a thread");
  warp.wanted = asked.count;
  if (asked.more) return; // it waits for them
  block.free_registers += (warp.registers - asked.count) * 32;
  warp.registers = asked.count;
}

} // namespace

// All that the block may have is divided among its threads, as ptxas does for a kernel that is launched with as many
// threads as its bounds say, one block a multiprocessor.
void Block::divide_registers() {
  const int threads_in_warps = static_cast<int>(warps.size()) * 32;
  const int each = std::min(kRegisters / threads_in_warps, kMostOfThread) / 8 * 8;
  for (Warp& warp : warps) warp.registers = warp.wanted = each;
  free_registers = 0;
  warpgroups.assign((warps.size() + 3) / 4, {});
}

std::string Block::warpgroups_damage() const {
  for (size_t g = 0; g < warpgroups.size(); ++g)
    for (size_t w = 1; w < 4 && 4 * g + w < warps.size(); ++w) {
      const std::string here = " warp " + std::to_string(4 * g + w) + " and the first of its warpgroup";
      if (warpgroups[g].asked[w] != warpgroups[g].asked[0]) return "not as many multiplications of" + here;
      if (warps[4 * g + w].registers != warps[4 * g].registers) return "not as many registers in" + here;
    }
  return "";
}

void set_registers(int count, bool more) {
  RegisterChange asked = {count, more};
  collective<RegisterChange, &change_registers>(more ? "setmaxnreg.inc" : "setmaxnreg.dec", 0xffffffffu, &asked);
  if (!more) return;
  Block* const block = current->block;
  Warp* const warp = current->warp;
  wait_until("setmaxnreg.inc", [block, warp] {
    const int missing = (warp->wanted - warp->registers) * 32;
    if (missing > block->free_registers) return false;
    block->free_registers -= missing;
    warp->registers = warp->wanted;
    return true;
  });
}

void multiplies_as_warpgroup(const char* what, uint64_t a, uint64_t b) {
  Warpgroup& group = warpgroup();
  const std::array<uint64_t, 2> operands = {a, b};
  const auto own = static_cast<size_t>(current->number / 32 % 4);
  const size_t at = static_cast<size_t>(group.asked[own]++ - group.first);
  if (at == group.operands.size())
    group.operands.push_back(operands);
  else if (group.operands[at] != operands)
    fault(std::string(what) + ": warps of a warpgroup give different descriptors");
  while (std::ranges::all_of(group.asked, [&](int64_t count) { return count > group.first; })) {
    group.operands.pop_front();
    ++group.first;
  }
}

} // namespace spf::emulated

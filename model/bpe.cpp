#include "model/bpe.hpp"

#include <queue>
#include <tuple>

namespace spearfish::model {
namespace {

uint64_t key_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

constexpr int32_t kGone = -1;

} // namespace

bool MergeTable::add(int32_t left, int32_t right, int32_t merged) {
  return merges_.emplace(key_of(left, right), Merge{static_cast<uint32_t>(merges_.size()), merged}).second;
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  const auto it = merges_.find(key_of(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void MergeTable::merge(std::vector<int32_t>& symbols) const {
  struct Node {
    int32_t symbol;
    std::ptrdiff_t before, after; // -1: none
  };
  const auto count = static_cast<std::ptrdiff_t>(symbols.size());
  if (count < 2) return;
  std::vector<Node> nodes(symbols.size());
  for (std::ptrdiff_t i = 0; i < count; ++i)
    nodes[static_cast<std::size_t>(i)] = {symbols[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
  const auto at = [&](std::ptrdiff_t i) -> Node& { return nodes[static_cast<std::size_t>(i)]; };

  using Candidate = std::tuple<uint32_t, std::ptrdiff_t, int32_t>; // rank, place of the left symbol, what they become
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](std::ptrdiff_t left) {
    if (left < 0 || at(left).after < 0) return;
    if (const Merge* m = find(at(left).symbol, at(at(left).after).symbol)) queue.emplace(m->rank, left, m->merged);
  };
  for (std::ptrdiff_t i = 0; i + 1 < count; ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, left, merged] = queue.top();
    queue.pop();
    Node& node = at(left);
    if (node.symbol == kGone || node.after < 0) continue;
    const Merge* now = find(node.symbol, at(node.after).symbol);
    if (now == nullptr || now->rank != rank) continue; // the pair that was offered is not there any more
    Node& eaten = at(node.after);
    node.symbol = merged;
    node.after = eaten.after;
    eaten.symbol = kGone;
    if (node.after >= 0) at(node.after).before = left;
    offer(node.before);
    offer(left);
  }
  symbols.clear();
  for (std::ptrdiff_t i = 0; i >= 0; i = at(i).after) symbols.push_back(at(i).symbol);
}

} // namespace spearfish::model

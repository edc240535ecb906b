#include "driver.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace spf::drivers {
namespace {

const std::vector<Case>& all_cases() {
  static const std::vector<Case> cases = check::embedded_cases({});
  return cases;
}

template <class T>
std::vector<T> spread(std::vector<T> items, size_t most) {
  if (items.size() <= most) return items;
  std::vector<T> chosen;
  for (size_t i = 0; i < most; ++i) chosen.push_back(items[i * (items.size() - 1) / std::max<size_t>(most - 1, 1)]);
  return chosen;
}

int64_t thin_extents(const Case& c) {
  return std::count_if(c.leading.begin(), c.leading.end(), [](int64_t e) { return e < 2; }) +
         std::count_if(c.dims.begin(), c.dims.end(), [](const auto& d) { return d.second < 2; });
}

// A better seed: fewer extents of 0 and 1, then fewer elements.
bool is_better(const Case& a, const Case& b) {
  const int64_t thin_a = thin_extents(a), thin_b = thin_extents(b);
  if (thin_a != thin_b) return thin_a < thin_b;
  return check::make_problem(a).elements() < check::make_problem(b).elements();
}

// The row length of the first operand of numbers; "" if it has none.
std::string row_symbol(const Op& op) {
  for (const Operand& operand : op.operands)
    if (!operand.has_rule() && !operand.dims.empty() && operand.dims.back().factor == 1)
      return operand.dims.back().symbol;
  return "";
}

} // namespace

void Findings::skip(const std::string& why) {
  if (std::find(skipped.begin(), skipped.end(), why) == skipped.end()) skipped.push_back(why);
}

std::string Findings::text() const {
  std::string out = std::to_string(wrong.size()) + " of " + std::to_string(checks) + " checks found something\n";
  for (size_t i = 0; i < std::min<size_t>(wrong.size(), 12); ++i) out += "  " + wrong[i] + "\n";
  return out;
}

std::vector<Case> seeds(const Op& op, size_t most) {
  std::map<std::tuple<std::map<std::string, std::string>, std::string, bool, bool, std::set<std::string>>, size_t> seen;
  std::vector<Case> found;
  for (const Case& c : all_cases()) {
    if (c.op != op.name || (c.bench && !op.takes_any_extents())) continue;
    const auto [at, fresh] =
        seen.try_emplace({c.types, c.weight, c.act_order, c.allow_activation_8bit, c.absent}, found.size());
    if (fresh)
      found.push_back(c);
    else if (!op.takes_any_extents() && is_better(c, found[at->second]))
      found[at->second] = c;
  }
  return spread(std::move(found), most);
}

bool is_served(const Session& session, const Op& op, const Case& seed) {
  const std::vector<int64_t> leading = op.has_leading() ? std::vector<int64_t>{1} : std::vector<int64_t>{};
  const std::vector<Kernel> kernels = check::kernels_of(op.name, session.memory.device().kind);
  Findings refusals; // of no interest here
  const Problem problem = check::make_problem(at_extents(op, seed, leading, 32));
  Call call(session, problem, std::vector<Layout>(problem.operands.size()));
  return std::any_of(kernels.begin(), kernels.end(), [&](const Kernel& k) { return accepts(call, k, &refusals); });
}

std::vector<Case> served_seeds(const Session& session, const Op& op, size_t most) {
  std::vector<Case> served;
  for (const Case& seed : seeds(op, 1000))
    if (is_served(session, op, seed)) served.push_back(seed);
  return served.empty() ? seeds(op, most) : spread(std::move(served), most);
}

Case at_extents(const Op& op, Case seed, std::vector<int64_t> leading, int64_t extent) {
  seed.leading = std::move(leading);
  seed.bench = false;
  Case other = seed;
  if (op.takes_any_extents()) {
    for (const std::string& symbol : op.symbols()) other.dims[symbol] = extent;
    return op.packed_weight || check::is_legal(check::make_problem(other)) ? other : seed;
  }
  if (const std::string symbol = row_symbol(op); !symbol.empty()) other.dims[symbol] = extent;
  return check::is_legal(check::make_problem(other)) ? other : seed;
}

std::vector<Case> cases_of_size(const Op& op, double smallest, double largest, size_t most) {
  std::vector<std::pair<double, Case>> sized;
  for (const Case& c : all_cases()) {
    if (c.op != op.name || c.bench) continue;
    const double size = check::make_problem(c).multiplications();
    if (size >= smallest && size <= largest) sized.emplace_back(size, c);
  }
  std::stable_sort(sized.begin(), sized.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Case> cases;
  for (const auto& [size, c] : sized) cases.push_back(c);
  return spread(std::move(cases), most);
}

bool is_small(const Problem& problem) { return problem.elements() <= 300'000; }

int64_t vector_elements(const Problem& problem) {
  int64_t smallest = 16;
  for (const check::OperandShape& operand : problem.operands)
    if (operand.present) smallest = std::min(smallest, check::type_bytes(operand.type));
  return 16 / smallest;
}

Layout padded(const std::vector<int64_t>& shape, int64_t padding) {
  Layout layout;
  layout.stride = check::contiguous_strides(shape);
  if (shape.size() < 2) return layout;
  int64_t step = std::max<int64_t>(shape.back(), 1) + padding;
  for (size_t i = shape.size() - 1; i-- > 0;) {
    layout.stride[i] = step;
    // Outer dimensions skip a row too, so that they cannot be walked as one.
    step = step * std::max<int64_t>(shape[i], 1) + (i > 0 ? step : 0);
  }
  return layout;
}

Layout leading_transposed(const std::vector<int64_t>& shape) {
  Layout layout;
  layout.stride = check::contiguous_strides(shape);
  int64_t step = shape.empty() ? 1 : std::max<int64_t>(shape.back(), 1);
  for (size_t i = 0; i + 1 < shape.size(); ++i) {
    layout.stride[i] = step;
    step *= std::max<int64_t>(shape[i], 1);
  }
  return layout;
}

Layout transposed(const std::vector<int64_t>& shape) {
  Layout layout;
  layout.stride = check::contiguous_strides(shape);
  const size_t rank = shape.size();
  if (rank < 2) return layout;
  layout.stride[rank - 2] = 1;
  layout.stride[rank - 1] = std::max<int64_t>(shape[rank - 2], 1);
  return layout;
}

Layout broadcast(const std::vector<int64_t>& shape) {
  Layout layout;
  layout.stride = check::contiguous_strides(shape);
  for (size_t i = 0; i + 1 < shape.size(); ++i) layout.stride[i] = 0;
  return layout;
}

bool accepts(Call& call, const Kernel& kernel, Findings* findings) {
  spf_status status = SPF_OK;
  const PlanFacts plan = call.query({kernel.name, {}}, &status);
  if (status == SPF_OK) return true;
  for (const PlanFacts::Rejection& rejection : plan.rejected)
    if (rejection.kernel == kernel.name) findings->skip(kernel.name + ": " + rejection.code + ": " + rejection.reason);
  return false;
}

std::string where(const Problem& problem, const std::string& kernel) {
  std::string shapes;
  for (size_t i = 0; i < problem.operands.size(); ++i) {
    if (!problem.operands[i].present) continue;
    shapes += " " + problem.op->operands[i].name + "[";
    for (size_t d = 0; d < problem.operands[i].shape.size(); ++d)
      shapes += (d ? "," : "") + std::to_string(problem.operands[i].shape[d]);
    shapes += "]";
  }
  return problem.op->name + " " + problem.name + shapes + " on " + kernel;
}

} // namespace spf::drivers

// Shapes, strides and alignments: every view is either right or refused by name.
#include <functional>
#include <utility>

#include "driver.hpp"

namespace spf::drivers {
namespace {

class Harness {
 public:
  Harness(const Session& session, const Op& op, Findings& findings) : session_(session), op_(op), findings_(findings) {}

  void run() {
    for (const Case& seed : served_seeds(session_, op_, 4)) {
      extents(seed);
      for (int64_t extent : {int64_t{24}, int64_t{131}}) {
        const Problem flat = check::make_problem(at_extents(op_, seed, leading({3}), extent));
        const Problem deep = check::make_problem(at_extents(op_, seed, leading({2, 3}), extent));
        strides(flat);
        if (op_.has_leading()) strides(deep);
        alignments(flat);
        in_place(flat);
      }
    }
  }

 private:
  std::vector<int64_t> leading(std::vector<int64_t> extents) const {
    return op_.has_leading() ? extents : std::vector<int64_t>{};
  }

  // Every dimension in {0, 1, 2, 3, vec-1, vec, vec+1} and around two vectors, the others held at values of their own.
  void extents(const Case& seed) {
    const int64_t vec = vector_elements(check::make_problem(at_extents(op_, seed, leading({1}), 8)));
    const std::vector<int64_t> interesting = {0, 1, 2, 3, vec - 1, vec, vec + 1, 2 * vec - 1, 2 * vec, 2 * vec + 1};
    for (const std::string& symbol : op_.symbols())
      for (int64_t rows : {0, 1, 2, 3})
        for (int64_t extent : interesting)
          for (int64_t others : op_.symbols().size() > 1 && op_.takes_any_extents()
                                    ? std::vector<int64_t>{1, vec + 1, 64}
                                    : std::vector<int64_t>{1}) {
            if (!op_.has_leading() && rows > 0) continue;
            Case c = seed;
            if (op_.takes_any_extents()) c = at_extents(op_, seed, leading({rows}), others);
            c.leading = leading({rows});
            c.dims[symbol] = extent;
            const Problem problem = check::make_problem(c);
            if (check::is_legal(problem)) check_all(problem, {}, "contiguous");
          }
  }

  // The same way to lie for every operand that may lie so, then for each alone.
  void strides(const Problem& problem) {
    using Make = std::function<Layout(const std::vector<int64_t>&)>;
    const std::pair<const char*, Make> ways[] = {
        {"row-padded by 8", [](const auto& shape) { return padded(shape, 8); }},
        {"row-padded by 3", [](const auto& shape) { return padded(shape, 3); }},
        {"leading dimensions transposed", leading_transposed},
        {"ending where memory faults",
         [](const auto&) {
           return Layout{{}, 0, true};
         }},
        {"row-padded, ending where memory faults",
         [](const auto& shape) {
           Layout layout = padded(shape, 5);
           layout.flush_end = true;
           return layout;
         }},
    };
    for (const auto& [name, make] : ways) {
      std::vector<Layout> layouts(problem.operands.size());
      for (size_t i = 0; i < layouts.size(); ++i)
        if (op_.operands[i].view != SPF_VIEW_CONTIGUOUS) layouts[i] = make(problem.operands[i].shape);
      check_all(problem, layouts, name);
    }
    for (size_t i = 0; i < problem.operands.size(); ++i) {
      const std::vector<int64_t>& shape = problem.operands[i].shape;
      if (!problem.operands[i].present || shape.empty()) continue;
      Layout gaps{check::contiguous_strides(shape)};
      for (int64_t& stride : gaps.stride) stride *= 2;
      one(problem, i, gaps, "every second element");
      if (shape.size() < 2) continue;
      one(problem, i, padded(shape, 1), "row-padded by 1");
      one(problem, i, transposed(shape), "transposed");
      one(problem, i, broadcast(shape), "broadcast");
    }
  }

  // What the operand's view rule and role say of strides, extents of 1 aside: nothing is stepped there.
  static bool may_lie_so(const Operand& operand, const std::vector<int64_t>& shape, const Layout& layout) {
    bool contiguous = true, overlaps = false;
    int64_t step = 1;
    for (size_t d = shape.size(); d-- > 0; step *= shape[d]) {
      contiguous &= shape[d] == 1 || layout.stride[d] == step;
      overlaps |= shape[d] > 1 && layout.stride[d] == 0;
    }
    if (operand.is_output() && overlaps) return false;
    if (operand.view == SPF_VIEW_CONTIGUOUS) return contiguous;
    return operand.view == SPF_VIEW_ANY || shape.back() == 1 || layout.stride.back() == 1;
  }

  void one(const Problem& problem, size_t operand, const Layout& layout, const char* name) {
    std::vector<Layout> layouts(problem.operands.size());
    layouts[operand] = layout;
    const std::string& who = op_.operands[operand].name;
    if (problem.operands[operand].elements() > 0 &&
        !may_lie_so(op_.operands[operand], problem.operands[operand].shape, layout))
      check_refused(problem, layouts, SPF_INVALID_STRIDE, who + ".stride", who + " " + name);
    else
      check_all(problem, layouts, who + " " + name);
  }

  // Base pointers 1 to 16 bytes off: right where elements are aligned, refused by name elsewhere.
  void alignments(const Problem& problem) {
    for (size_t i = 0; i < problem.operands.size(); ++i) {
      if (!problem.operands[i].present) continue;
      const int64_t size = check::type_bytes(problem.operands[i].type);
      for (int64_t off = 1; off <= 16; ++off) {
        std::vector<Layout> layouts(problem.operands.size());
        layouts[i].misalign = off;
        const std::string name = op_.operands[i].name + " " + std::to_string(off) + " bytes off";
        if (off % size == 0)
          check_all(problem, layouts, name);
        else
          check_refused(problem, layouts, SPF_INVALID_ALIGNMENT, op_.operands[i].name + ".data", name);
      }
    }
  }

  // An output that is the very view of an input of its shape and type.
  void in_place(const Problem& problem) {
    for (size_t out = 0; out < problem.operands.size(); ++out)
      for (size_t in = 0; in < problem.operands.size(); ++in) {
        const check::OperandShape &o = problem.operands[out], &i = problem.operands[in];
        if (!o.present || !i.present || op_.operands[out].role != SPF_ROLE_OUT || op_.operands[in].role != SPF_ROLE_IN)
          continue;
        if (o.shape != i.shape || o.type != i.type || !op_.operands[in].has_leading()) continue;
        for (const Kernel& kernel : check::kernels_of(op_.name, session_.memory.device().kind))
          in_place(problem, in, out, kernel);
      }
  }

  void in_place(const Problem& problem, size_t in, size_t out, const Kernel& kernel) {
    const std::string here =
        where(problem, kernel.name) + ", " + op_.operands[out].name + " in place of " + op_.operands[in].name;
    Call call(session_, problem, {});
    call.views()[out] = call.view(in);
    if (!accepts(call, kernel, &findings_)) return;
    const std::vector<Codes> inputs = check::make_inputs(problem, Pattern::kPlain);
    call.fill(inputs);
    RunOptions options;
    options.demand.require = kernel.name;
    Outcome outcome = call.launch(options);
    // The input is overwritten, as it should be, and the output's own buffer is not.
    outcome.damage = call.buffer(in).damage();
    outcome.outputs[out] = call.buffer(in).get();
    findings_.expect_right(here, check::check_outcome(problem, inputs, check::reference(problem, inputs), outcome));
  }

  // Every kernel, these layouts: the reference's answer to what the views hold.
  void check_all(const Problem& problem, const std::vector<Layout>& layouts, const std::string& how) {
    Call call(session_, problem, layouts);
    call.fill(check::make_inputs(problem, Pattern::kPlain));
    const std::vector<Codes> inputs = call.held();
    const std::vector<Codes> expected = check::reference(problem, inputs);
    for (const Kernel& kernel : check::kernels_of(op_.name, session_.memory.device().kind)) {
      if (!accepts(call, kernel, &findings_)) continue;
      call.fill(inputs);
      RunOptions options;
      options.demand.require = kernel.name;
      findings_.expect_right(where(problem, kernel.name) + ", " + how,
                             check::check_outcome(problem, inputs, expected, call.launch(options)));
    }
  }

  void check_refused(const Problem& problem, const std::vector<Layout>& layouts, spf_status status,
                     const std::string& field, const std::string& how) {
    const std::string here = where(problem, "the planned kernel") + ", " + how;
    Call call(session_, problem, layouts);
    const std::vector<Codes> inputs = check::make_inputs(problem, Pattern::kPlain);
    call.fill(inputs);
    std::vector<Codes> before;
    for (size_t i = 0; i < problem.operands.size(); ++i) before.push_back(call.buffer(i).held());
    const Outcome outcome = call.launch({});
    if (!findings_.expect(outcome.status == status,
                          here + ": " + spf_status_name(outcome.status) + ", not " + spf_status_name(status)))
      return;
    findings_.expect(outcome.error.op == op_.name && outcome.error.field.starts_with(field),
                     here + ": the refusal names " + outcome.error.op + ", " + outcome.error.field);
    findings_.expect(outcome.damage.empty(), here + ": refused, but " + outcome.damage);
    for (size_t i = 0; i < outcome.outputs.size(); ++i)
      if (op_.operands[i].is_output() && problem.operands[i].present)
        findings_.expect(outcome.outputs[i] == before[i],
                         here + ": refused, but " + op_.operands[i].name + " was written");
  }

  const Session& session_;
  const Op& op_;
  Findings& findings_;
};

} // namespace

void shapes(const Session& session, const Op& op, Findings& findings) { Harness(session, op, findings).run(); }

} // namespace spf::drivers

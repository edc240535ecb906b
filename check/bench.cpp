#include "check/bench.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include "check/gemm_peers.hpp"
#include "check/weight.hpp"

namespace spf::check {
namespace {

constexpr int kFewestLong = 4;       // launches of a graph of long ones
constexpr double kFarFromBest = 1.6; // of the plan's estimates: instances beyond it are not timed

int64_t up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// `slots` copies of a problem's operands, back to back in one block, and one weight each.
class Slots {
 public:
  Slots(Memory& memory, const Problem& problem, int slots, bool pdl)
      : memory_(memory), problem_(problem), count_(slots), pdl_(pdl) {
    for (const OperandShape& operand : problem.operands) {
      offsets_.push_back(slot_bytes_);
      if (operand.present) slot_bytes_ += up(operand.elements() * type_bytes(operand.type), 256);
    }
    block_ = memory.allocate(slot_bytes_ * slots);
    fill(slots);
  }

  // Plans the problem with the kernel, or the instance of one, that `require` names; "" leaves it to the planner.
  void plan(const std::string& require) {
    require_ = require;
    spf_packed_weight header = {};
    const spf_packed_weight* weight = nullptr;
    if (problem_.weight) {
      header = problem_.weight->header(memory_.device());
      weight = &header;
    }
    spf_plan* made = nullptr;
    status_ = call(0, weight, SPF_LAUNCH_PLAN_ONLY, nullptr, &made);
    if (status_ != SPF_OK) refusal_ = last_error().message;
    facts_ = read_plan(made);
    spf_plan_free(made);
  }
  // Makes what the plan asks for.
  void prepare() {
    if (problem_.weight && (weights_.empty() || layout_ != facts_.layout)) weights();
    workspace_ = {};
    if (facts_.workspace_bytes > 0) workspace_ = memory_.allocate(static_cast<int64_t>(facts_.workspace_bytes));
  }

  static int64_t bytes_of(const Problem& problem) {
    int64_t bytes = 0;
    for (const OperandShape& operand : problem.operands)
      bytes += up(operand.elements() * type_bytes(operand.type), 256);
    size_t weight = 0; // packed forms are about as large as the checkpoint's
    if (problem.weight) {
      spf_quant_scheme scheme = problem.weight->scheme();
      scheme.has_g_idx = 0; // a quantizer knows no act order
      expect_ok(spf_quantize_size(&scheme, problem.weight->n(), problem.weight->k(), &weight), "spf_quantize_size");
    }
    return bytes + static_cast<int64_t>(weight);
  }

  spf_status launch(int slot, void* stream) {
    return call(slot, weights_.empty() ? nullptr : &weights_[static_cast<size_t>(slot)], 0, stream, nullptr);
  }
  const PlanFacts& facts() const { return facts_; }
  bool runs() const { return status_ == SPF_OK; }
  const std::string& refusal() const { return refusal_; }
  size_t weight_bytes() const { return weights_.empty() ? 0 : weights_.front().bytes; }

 private:
  void fill(int slots) {
    const std::vector<Codes> inputs = make_inputs(problem_, Pattern::kPlain);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (!inputs[i].empty())
        memory_.write(block_.data() + offsets_[i], inputs[i].data(), static_cast<int64_t>(inputs[i].size()));
    for (int slot = 1; slot < slots; ++slot)
      memory_.copy(block_.data() + slot * slot_bytes_, block_.data(), slot_bytes_);
  }

  // Every slot has a weight of its own, or the weight would lie in the cache from the second launch on.
  void weights() {
    layout_ = facts_.layout;
    const spf_packed_weight& packed = problem_.weight->packed_repeated(layout_, memory_);
    weights_.assign(static_cast<size_t>(count_), packed);
    if (count_ == 1) return;
    const int64_t bytes = static_cast<int64_t>(packed.bytes), stride = up(bytes, 256);
    weight_block_ = {}; // the other layout's first, or both would need room
    weight_block_ = memory_.allocate(stride * count_);
    for (int slot = 0; slot < count_; ++slot) {
      weights_[static_cast<size_t>(slot)].data = weight_block_.data() + slot * stride;
      memory_.copy(weight_block_.data() + slot * stride, packed.data, bytes);
    }
  }

  spf_status call(int slot, const spf_packed_weight* weight, uint32_t flags, void* stream, spf_plan** plan) {
    std::vector<spf_tensor> views(problem_.operands.size());
    std::vector<const spf_tensor*> operands(views.size(), nullptr);
    for (size_t i = 0; i < views.size(); ++i) {
      const OperandShape& o = problem_.operands[i];
      if (!o.present) continue;
      expect_ok(spf_tensor_init(&views[i], block_.data() + slot * slot_bytes_ + offsets_[i], o.type,
                                static_cast<int32_t>(o.shape.size()), o.shape.data(), memory_.device()),
                "spf_tensor_init");
      operands[i] = &views[i];
    }
    spf_plan_options options = {};
    options.struct_size = sizeof options;
    options.require_kernel = require_.empty() ? nullptr : require_.c_str();
    options.allow_activation_8bit = problem_.allow_activation_8bit ? 1 : 0;
    spf_launch launch = {};
    expect_ok(spf_launch_init(&launch, memory_.device()), "spf_launch_init");
    launch.flags = flags | (pdl_ ? SPF_LAUNCH_PDL : 0);
    launch.stream = stream;
    launch.workspace = workspace_.data();
    launch.workspace_bytes = static_cast<size_t>(workspace_.bytes());
    launch.options = &options;
    launch.plan = plan;
    return spf_op_call(problem_.op->name.c_str(), operands.data(), static_cast<int32_t>(operands.size()),
                       problem_.params.data(), static_cast<int32_t>(problem_.params.size()), weight, &launch);
  }

  Memory& memory_;
  const Problem& problem_;
  int count_;
  bool pdl_;
  std::string require_, refusal_, layout_;
  std::vector<int64_t> offsets_;
  int64_t slot_bytes_ = 0;
  Block block_, workspace_, weight_block_;
  std::vector<spf_packed_weight> weights_; // by slot
  PlanFacts facts_;
  spf_status status_ = SPF_OK;
};

// Peers of one CSV. Two forms: family,name,shape,m_or_tokens,peer,us and weight,m,us (ggml's matrix product).
class Peers {
 public:
  explicit Peers(const std::string& file) {
    if (file.empty()) return;
    std::ifstream in(file);
    if (!in) throw UsageError("cannot read " + file);
    std::vector<std::string> header;
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line.front() == '#') continue;
      std::vector<std::string> cells;
      std::stringstream stream(line);
      for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
      if (header.empty()) {
        header = cells;
        continue;
      }
      std::map<std::string, std::string> row;
      for (size_t i = 0; i < std::min(header.size(), cells.size()); ++i) row[header[i]] = cells[i];
      rows_.push_back(std::move(row));
    }
    if (header.empty()) throw UsageError(file + " has no header line");
  }

  std::map<std::string, PeerTime> of(const Case& c, const Problem& problem) const {
    std::map<std::string, PeerTime> found;
    for (const auto& row : rows_) {
      const auto cell = [&](const char* name) {
        const auto at = row.find(name);
        return at == row.end() ? std::string() : at->second;
      };
      const double us = std::strtod(cell("us").c_str(), nullptr);
      if (us <= 0) continue;
      if (row.contains("weight")) {
        if (c.op == "linear" && same_weight(cell("weight"), c.weight) && cell("m") == std::to_string(problem.rows()))
          found["ggml " + cell("weight")].us = us;
      } else if (!c.peer.empty()) {
        if (c.peer == cell("name") + "/" + cell("shape") && cell("m_or_tokens") == std::to_string(tokens(problem)))
          found[cell("peer")].us = us;
      } else if ((cell("name") == c.op || cell("family") == c.op) &&
                 cell("m_or_tokens") == std::to_string(problem.rows()) && same_shape(cell("shape"), c)) {
        found[cell("peer")].us = us;
      }
    }
    return found;
  }

 private:
  static int64_t tokens(const Problem& problem) {
    const std::vector<int64_t>& first = problem.operands.front().shape;
    return problem.op->has_leading() || first.empty() ? problem.rows() : first.front();
  }

  // "H4096": the one extent of a case; "K=14336 N=4096": each by its symbol.
  static bool same_shape(const std::string& shape, const Case& c) {
    if (shape.find('=') != std::string::npos) {
      std::string ours;
      for (const auto& [symbol, extent] : c.dims)
        ours += (ours.empty() ? "" : " ") + symbol + "=" + std::to_string(extent);
      return shape == ours;
    }
    const size_t digits = shape.find_first_of("0123456789");
    if (digits == std::string::npos || c.dims.size() != 1) return false;
    return shape.substr(digits) == std::to_string(c.dims.begin()->second);
  }

  // 4-bit and 8-bit groups of integers have their nearest relatives among ggml's formats.
  static bool same_weight(const std::string& theirs, const std::string& ours) {
    return theirs == ours || (theirs == "q4_0" && ours.starts_with("int4")) ||
           (theirs == "q8_0" && ours.starts_with("int8"));
  }

  std::vector<std::map<std::string, std::string>> rows_;
};

struct Traffic {
  double read = 0, written = 0; // bytes
};

// What a call has to move at least: what it reads once and writes once, all of an operand or what the manifest says
// (`traffic`).
Traffic traffic(const Problem& problem, size_t weight_bytes) {
  Traffic bytes;
  bytes.read = static_cast<double>(weight_bytes);
  for (size_t i = 0; i < problem.operands.size(); ++i) {
    if (!problem.operands[i].present) continue;
    int64_t elements = problem.operands[i].elements();
    const auto role = problem.op->operands[i].role;
    const bool counted = problem.op->operands[i].traffic.has_value();
    if (counted)
      elements =
          problem.op->operands[i].traffic->evaluate([&](const std::string& symbol) { return problem.extent(symbol); });
    const double size = static_cast<double>(elements * type_bytes(problem.operands[i].type));
    if (role == SPF_ROLE_IN || (role == SPF_ROLE_INOUT && !counted)) bytes.read += size;
    if (role != SPF_ROLE_IN) bytes.written += size;
  }
  return bytes;
}

double time_cpu(Slots& slots) {
  using Clock = std::chrono::steady_clock;
  const auto once = [&](int calls) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) expect_ok(slots.launch(0, nullptr), "launch");
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count() / calls;
  };
  const double first = once(1);
  if (first > 3e6) return first;
  const int calls = std::max(1, static_cast<int>(50 / std::max(once(1), 0.05))); // short calls are timed together
  std::vector<double> times;
  const auto begin = Clock::now();
  while (times.size() < 5 || (times.size() < 400 && std::chrono::duration<double>(Clock::now() - begin).count() < 0.3))
    times.push_back(once(calls));
  return median(std::move(times));
}

class Bench {
 public:
  using RowCall = std::function<void(const BenchReport&)>;

  Bench(Memory& memory, const BenchOptions& options, const RowCall& on_row, BenchReport* report)
      : memory_(memory), options_(options), on_row_(on_row), report_(report), peers_(options.peers) {
    if (!memory.is_cpu()) {
      report->limits = measure_cuda(memory);
      if (!options.gemm_peers) return;
      std::string why;
      gemm_peers_ = open_gemm_peers(memory, &why);
      if (gemm_peers_ != nullptr) {
        report->limits.tensor_per_second = gemm_peers_->best_rate(false);
        report->limits.tensor8_per_second = gemm_peers_->best_rate(true);
      } else {
        report->notes.push_back("no times of cuBLASLt: " + why);
      }
      return;
    }
    report->limits.compute = measure_compute(memory.facts().cpu_features, spf_cpu_threads());
    report->limits.read_bytes_per_second = measure_read_bandwidth(size_t{256} << 20, spf_cpu_threads());
  }

  void time(const Case& c) {
    if (kernels_of(c.op, memory_.device().kind).empty()) {
      const std::string why = c.op + ": no kernel of this op exists for this kind of device";
      if (report_->refused.empty() || report_->refused.back() != why) report_->refused.push_back(why);
      return;
    }
    Problem problem = make_problem(c);
    // The rows of a batch-size series share one weight; making it takes longer than timing it.
    if (problem.weight) {
      const std::string key = c.weight + " " + std::to_string(problem.weight->n()) + " " +
                              std::to_string(problem.weight->k()) + (c.act_order ? " act_order" : "");
      problem.weight = weights_.try_emplace(key, problem.weight).first->second;
    }
    const int64_t slot = std::max<int64_t>(Slots::bytes_of(problem), 256);
    int count = 1;
    if (!memory_.is_cpu()) {
      count = std::clamp(static_cast<int>(kRotate / slot), kFewestLaunches, kMostLaunches);
      count = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(count, memory_.largest_block() / 2 / slot)));
    }
    Slots slots(memory_, problem, options_.warm ? 1 : count, options_.pdl);
    const std::vector<std::string> all = required_of(c.op, slots);
    if (all.empty())
      report_->refused.push_back(c.op + " " + c.name() + ": no kernel, or no instance of one, takes it" +
                                 (options_.kernel.empty() ? "" : " of those that '" + options_.kernel + "' names"));
    for (const std::string& required : all) {
      slots.plan(required);
      if (slots.runs())
        time(c, problem, slots, count);
      else
        report_->refused.push_back(c.op + " " + c.name() + ": " + slots.refusal());
    }
  }

 private:
  // What a case is timed with, as spf_plan_options.require_kernel takes it.
  std::vector<std::string> required_of(const std::string& op, Slots& slots) const {
    if (!options_.every_kernel && !options_.every_instance) return {options_.kernel};
    std::vector<std::string> required;
    for (const Kernel& kernel : kernels_of(op, memory_.device().kind)) {
      if (!name_fits(kernel.name, options_.kernel)) continue;
      if (!options_.every_instance) {
        required.push_back(kernel.name);
        continue;
      }
      // Most instances are for other types, formats, or numbers of tokens.
      std::vector<std::pair<double, std::string>> costs;
      for (const std::string& instance : kernel.instances) {
        slots.plan(kernel.pattern(instance));
        if (slots.runs()) costs.emplace_back(slots.facts().cost_us, kernel.pattern(instance));
      }
      if (costs.empty()) continue;
      const double least = std::min_element(costs.begin(), costs.end())->first;
      for (const auto& [cost, name] : costs)
        if (cost <= kFarFromBest * least) required.push_back(name);
    }
    return required;
  }

  void time(const Case& c, const Problem& problem, Slots& slots, int count) {
    slots.prepare();
    BenchRow row;
    row.op = c.op;
    row.name = c.name();
    row.types = c.types;
    row.dims = c.dims;
    if (problem.op->has_leading()) row.dims["*"] = problem.rows();
    row.weight = c.weight;
    row.kernel = slots.facts().kernel;
    row.instance = slots.facts().instance;
    row.activation = slots.facts().activation;
    row.planned_us = slots.facts().cost_us;
    const Traffic moved = traffic(problem, slots.weight_bytes());
    row.read_bytes = moved.read;
    row.written_bytes = moved.written;
    if (problem.weight) row.operations = 2 * problem.multiplications();
    const auto launch = [&](int index, void* stream) {
      expect_ok(slots.launch(options_.warm ? 0 : index, stream), "launch");
    };
    if (memory_.is_cpu()) {
      row.us = time_cpu(slots);
    } else {
      const GraphTimes times = time_graph(memory_,
                                          {.launches = count,
                                           .fewest = std::min(count, kFewestLong),
                                           .cold = !options_.warm,
                                           .rest = true,
                                           .sustained = !options_.every_instance},
                                          launch);
      row.us = median(times.each);
      row.sustained_us = times.sustained;
    }
    row.limit_us = limit(row);
    row.peers = peers_.of(c, problem);
    add_gemm_peers(c, problem, &row);
    report_->rows.push_back(std::move(row));
    if (on_row_) on_row_(*report_);
  }

  // cuBLASLt's times of the same extents, once for all weight formats.
  void add_gemm_peers(const Case& c, const Problem& problem, BenchRow* row) {
    if (gemm_peers_ == nullptr || (c.op != "linear" && c.op != "scaled_linear")) return;
    const std::array<int64_t, 3> extents = {problem.rows(), problem.extent("N"), problem.extent("K")};
    const auto [at, fresh] = gemm_times_.try_emplace(extents);
    if (fresh) at->second = gemm_peers_->time(extents[0], extents[1], extents[2]);
    row->peers.insert(at->second.begin(), at->second.end());
  }

  double limit(const BenchRow& row) {
    if (!memory_.is_cpu()) {
      // Reading alone is faster than copying, so a written byte costs what is left of a copy's time.
      const double read = 1 / report_->limits.read_bytes_per_second;
      const double write = 2 / report_->limits.copy_bytes_per_second - read;
      const double move = row.read_bytes * read + row.written_bytes * write;
      const Limits& limits = report_->limits;
      const bool bytes = row.op == "scaled_linear"; // s8 runs at the rate of fp8
      const double tensor =
          bytes && limits.tensor8_per_second > 0 ? limits.tensor8_per_second : limits.tensor_per_second;
      return 1e6 * std::max(move, tensor > 0 ? row.operations / tensor : 0.0);
    }
    const double bytes = row.read_bytes + row.written_bytes;
    const double peak = best_for(report_->limits.compute, row.activation).per_second;
    return 1e6 * std::max(bytes / cpu_bandwidth(bytes), row.operations / peak);
  }

  // Of a set of this size; sizes that are nearly equal share a measurement.
  double cpu_bandwidth(double bytes) {
    const auto [at, fresh] = bandwidth_.try_emplace(working_set(static_cast<size_t>(bytes)), 0);
    if (fresh) at->second = measure_read_bandwidth(at->first, spf_cpu_threads());
    return at->second;
  }

  Memory& memory_;
  const BenchOptions& options_;
  const RowCall& on_row_;
  BenchReport* report_;
  Peers peers_;
  std::map<size_t, double> bandwidth_;
  std::map<std::string, std::shared_ptr<Weight>> weights_;
  std::unique_ptr<GemmPeers> gemm_peers_;
  std::map<std::array<int64_t, 3>, std::map<std::string, PeerTime>> gemm_times_;
};

} // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

BenchReport run_bench(Memory& memory, const std::vector<Case>& cases, const BenchOptions& options,
                      const ProgressCall& progress, const std::function<void(const BenchReport&)>& on_row) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  BenchReport report;
  Bench bench(memory, options, on_row, &report);
  if (on_row) on_row(report);
  std::vector<const Case*> timed;
  for (const Case& c : cases)
    if (c.bench) timed.push_back(&c);
  for (size_t i = 0; i < timed.size(); ++i) {
    if (options.seconds > 0 && std::chrono::duration<double>(Clock::now() - begin).count() > options.seconds) {
      report.notes.push_back("time is up: " + std::to_string(timed.size() - i) + " of " + std::to_string(timed.size()) +
                             " cases were not timed");
      break;
    }
    if (progress) progress(i, timed.size(), timed[i]->op + " " + timed[i]->name());
    bench.time(*timed[i]);
  }
  if (progress) progress(timed.size(), timed.size(), "");
  return report;
}

nlohmann::ordered_json BenchReport::json() const {
  using Json = nlohmann::ordered_json;
  const auto rounded = [](double value) { return std::round(value * 1000) / 1000; };
  Json out = {{"device", info.device}, {"driver", info.driver},   {"toolkit", info.toolkit},
              {"commit", info.commit}, {"command", info.command}, {"date", info.date}};
  Json& measured = out["limits"] = Json::object();
  if (limits.copy_bytes_per_second > 0) measured["copy_gb_per_s"] = rounded(limits.copy_bytes_per_second / 1e9);
  if (limits.read_bytes_per_second > 0) measured["read_gb_per_s"] = rounded(limits.read_bytes_per_second / 1e9);
  if (limits.empty_us > 0) measured["empty_kernel_us"] = rounded(limits.empty_us);
  if (limits.tensor_per_second > 0) measured["tensor_bf16_tflops_per_s"] = rounded(limits.tensor_per_second / 1e12);
  if (limits.tensor8_per_second > 0) measured["tensor_fp8_tflops_per_s"] = rounded(limits.tensor8_per_second / 1e12);
  for (const auto& [name, rate] : limits.compute) measured["gops_per_s"][name] = rounded(rate / 1e9);
  out["rows"] = Json::array();
  for (const BenchRow& row : rows) {
    Json item = {{"op", row.op}, {"case", row.name}, {"types", row.types}, {"dims", row.dims}};
    if (!row.weight.empty()) item["weight"] = row.weight;
    item["kernel"] = row.kernel;
    item["instance"] = row.instance;
    if (!row.weight.empty()) item["activation"] = row.activation;
    item["us"] = rounded(row.us);
    if (row.sustained_us > 0) item["sustained_us"] = rounded(row.sustained_us);
    item["planned_us"] = rounded(row.planned_us);
    item["limit_us"] = rounded(row.limit_us);
    item["share_of_limit"] = rounded(row.limit_us / row.us);
    item["peers"] = Json::object();
    for (const auto& [peer, time] : row.peers) {
      item["peers"][peer] = time.us;
      item["us_over_peer"][peer] = rounded(row.us / time.us);
      if (row.sustained_us <= 0 || time.sustained_us <= 0) continue;
      item["peers"][peer + ", sustained"] = time.sustained_us;
      item["us_over_peer"][peer + ", sustained"] = rounded(row.sustained_us / time.sustained_us);
    }
    out["rows"].push_back(std::move(item));
  }
  for (const std::string& why : refused) out["refused"].push_back(why);
  for (const std::string& note : notes) out["notes"].push_back(note);
  return out;
}

} // namespace spf::check

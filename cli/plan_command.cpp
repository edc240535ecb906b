// `spearfish plan`: which kernel would run, and why no other.
#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "numbers.hpp"
#include "problem.hpp"
#include "spearfish/spearfish.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Json = nlohmann::ordered_json;

// Statuses that answer the question "which kernel?" with "none".
bool means_no_kernel(spf_status status) {
  switch (status) {
    case SPF_UNSUPPORTED:
    case SPF_NOT_BUILT:
    case SPF_REQUIREMENT_UNMET:
    case SPF_INVALID_DEVICE:
    case SPF_INVALID_TYPE:
      return true;
    default:
      return false;
  }
}

// What was asked, in words and as JSON, and what came out.
struct Answer {
  std::string device, problem;
  Plan plan;
  std::optional<Error> error;
  Plan linear; // where no kernel takes quantized activations: the same weight under 16-bit ones
};

Json to_json(const std::string& op, const Answer& answer) {
  Json out = {{"op", op},
              {"device", answer.device},
              {"problem", answer.problem},
              {"chosen", nullptr},
              {"rejected", Json::array()}};
  if (answer.plan)
    out["chosen"] = {{"kernel", answer.plan.kernel()},           {"instance", answer.plan.instance()},
                     {"layout", answer.plan.layout()},           {"workspace_bytes", answer.plan.workspace_bytes()},
                     {"determinism", answer.plan.determinism()}, {"activation", answer.plan.activation()},
                     {"cost_us", answer.plan.cost_us()}};
  if (!answer.plan.empty())
    for (const Plan::Rejection& r : answer.plan.rejected())
      out["rejected"].push_back({{"kernel", r.kernel}, {"code", r.code}, {"reason", r.reason}});
  if (answer.linear) out["instead"] = {{"op", "linear"}, {"kernel", answer.linear.kernel()}, {"type", "bf16"}};
  if (answer.error)
    out["error"] = {{"status", answer.error->status_name()},
                    {"field", answer.error->field()},
                    {"value", answer.error->value()},
                    {"allowed", answer.error->allowed()},
                    {"message", answer.error->what()}};
  return out;
}

void print_text(const std::string& op, const Answer& answer) {
  fmt::print("{} on {}: {}\n\n", paint(Colour::kBold, op), answer.device, answer.problem);
  if (answer.plan) {
    const Plan& plan = answer.plan;
    fmt::print("  kernel       {}\n", paint(Colour::kGood, plan.kernel()));
    // A problem without results is any instance's.
    if (!plan.instance().empty() && plan.cost_us() > 0) fmt::print("  instance     {}\n", plan.instance());
    if (!plan.layout().empty()) fmt::print("  layout       {}\n", plan.layout());
    fmt::print("  workspace    {}\n", bytes_text(static_cast<double>(plan.workspace_bytes())));
    fmt::print("  determinism  {}\n", plan.determinism());
    fmt::print("  activation   {}\n", plan.activation());
    fmt::print("  estimate     {} us\n",
               plan.cost_us() < 100 ? fmt::format("{:.3g}", plan.cost_us()) : fmt::format("{:.0f}", plan.cost_us()));
  } else {
    fmt::print("  kernel       {}\n", paint(Colour::kBad, "none"));
  }
  if (answer.linear)
    fmt::print("  instead      linear, with activations in bf16: {}\n", paint(Colour::kGood, answer.linear.kernel()));
  if (answer.plan.empty() || answer.plan.rejected().empty()) return;
  Table table({{"  passed over"}, {"code"}, {"reason"}});
  for (const Plan::Rejection& r : answer.plan.rejected())
    table.add({"  " + r.kernel, {r.code, Colour::kWarn}, r.reason});
  fmt::print("\n{}", table.text());
}

class PlanCommand : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_option("op", op_, "The op, e.g. linear, rms_norm, silu_and_mul")->required();
    app.add_option("--device", device_, "cpu, cuda:0, or one that is not here: cpu:avx2, sm_90, 9.0, h200, ...")
        ->capture_default_str();
    constexpr const char* kPacked = "Of ops with a packed weight: linear, scaled_linear, nvfp4_linear, ...";
    app.add_option("--m", m_, "Rows of activations (tokens)")->group(kPacked)->check(whole_number(0));
    app.add_option("--n", n_, "Output features")->group(kPacked)->check(whole_number(0));
    app.add_option("--k", k_, "Reduction")->group(kPacked)->check(whole_number(0));
    app.add_option("--weight", weight_, "Weight format, e.g. int4-g128, fp8-channel, nvfp4, q4_k")->group(kPacked);
    app.add_option("--group", group_, "Values along K that share a scale; -1 = all of K")->group(kPacked);
    app.add_option("--act", act_, "Type of x: bf16, f16 or f32; of scaled_linear e4m3 or s8 (default: the usual one)")
        ->group(kPacked);
    app.add_option("--with", present_, "Optional operands that the call has, e.g. bias")
        ->group(kPacked)
        ->expected(1, -1);
    app.add_flag("--allow-8bit-activation", allow_8bit_, "Kernels may quantize activations to 8 bits")->group(kPacked);
    app.add_option("--dims", dims_, "Extents by dimension, e.g. --dims '*=8x16' H=4096")->expected(1, -1);
    app.add_option("--type", types_,
                   "Scalar type of the operands (default bf16, or the first that the op takes), or OPERAND=TYPE")
        ->expected(1, -1);
    app.add_option("--param", params_, "A parameter, NAME=VALUE")->expected(1, -1);
    app.add_option("--without", absent_, "An optional operand to leave out")->expected(1, -1);
    app.add_option("--require", require_,
                   "kernel=NAME: this kernel or none. NAME is kernel, family/kernel or family/kernel/instance");
    app.add_option("--forbid", forbid_, "Kernels that must not run")->expected(1, -1);
    app.add_flag("--allow-nondeterministic", allow_nondeterministic_, "Kernels may use atomics");
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(
        "Exit codes: 0 a kernel runs, 2 wrong usage, 3 no kernel can run.\n"
        "Examples: spearfish plan linear --m 8 --n 4096 --k 14336 --weight int4-g128 --device h200\n"
        "          spearfish plan scaled_linear --m 64 --n 4096 --k 4096 --weight s8-channel --device a100\n"
        "          spearfish plan rms_norm --dims '*=64' H=4096 --type f16 --json\n");
  }

  int run() override {
    const OpInfo op = find_op(op_);
    Answer answer;
    answer.device = device_;
    try {
      plan(op, &answer);
    } catch (const Error& e) {
      if (!means_no_kernel(e.status())) throw UsageError(e.what());
      answer.error = e;
      plan_linear_instead(op, &answer);
    }
    if (json_)
      fmt::print("{}\n", to_json(op.name, answer).dump(2));
    else
      print_text(op.name, answer);
    if (answer.plan) return kOk;
    if (answer.error) fmt::print(stderr, "spearfish: {}\n", answer.error->what());
    return kNoKernel;
  }

 private:
  // Fills extents and the weight from --m, --n, --k and --weight.
  void add_linear(const OpInfo& op, Extents* extents, std::optional<WeightFormat>* weight) const {
    for (const auto& [flag, value] : {std::pair{"--m", m_}, {"--n", n_}, {"--k", k_}})
      if (!value) throw UsageError(fmt::format("{} needs {}", op.name, flag));
    if (weight_.empty()) throw UsageError(fmt::format("{} needs --weight FORMAT", op.name));
    *weight = weight_format(weight_, group_ ? &*group_ : nullptr);
    // G: one scale a token of x.
    for (const auto& [symbol, value] : {std::pair{"*", *m_}, {"M", *m_}, {"N", *n_}, {"K", *k_}, {"G", int64_t{1}}})
      for (const std::string& known : symbols_of(op))
        if (known == symbol) extents->emplace(symbol, std::vector<int64_t>{value});
  }

  void plan(const OpInfo& op, Answer* answer) {
    Extents extents = parse_extents(dims_);
    std::optional<WeightFormat> weight;
    std::vector<std::string> absent = absent_;
    if (op.takes_packed_weight) {
      add_linear(op, &extents, &weight);
      // Linear layers mostly have no bias; optional operands join with --dims only for the other ops.
      for (const std::string& name : present_) (void)find_operand(op, name);
      for (const OperandInfo& operand : op.operands)
        if (operand.optional && std::find(present_.begin(), present_.end(), operand.name) == present_.end())
          absent.push_back(operand.name);
    } else if (m_ || n_ || k_ || !weight_.empty() || group_ || !act_.empty() || !present_.empty()) {
      throw UsageError(
          fmt::format("--m, --n, --k, --weight, --group, --act and --with are for ops with a packed weight; {} takes "
                      "--dims and --type",
                      op.name));
    }
    std::string text;
    const OperandTypes types = operand_types(op, weight, &text);
    const std::vector<double> params = parse_params(op, params_);

    answer->problem = describe_problem(extents, text, weight);
    const DeviceFacts facts = device_facts(device_);
    const Device device(spf_device{facts.kind, 0});
    Launch launch(device);
    if (!require_.empty()) launch.require(required_name());
    for (const std::string& name : forbid_) launch.forbid(name);
    launch.allow_activation_8bit(allow_8bit_)
        .allow_nondeterministic(allow_nondeterministic_)
        .plan_only(answer->plan, facts);
    const auto operands = operands_without_data(op, extents, types, absent, device);
    if (!weight) {
      call(op.name, operands, params, launch);
      return;
    }
    const spf_packed_weight unpacked = unpacked_weight(weight->scheme, *n_, *k_, device);
    call(op.name, operands, params, launch, &unpacked);
  }

  // Types from --act and --type, and what of them describes the problem: "bf16", "s8 x ..., out bf16". Of ops with a
  // packed weight x has its own type; where that has 8 bits, the others have the usual one of 16.
  OperandTypes operand_types(const OpInfo& op, const std::optional<WeightFormat>& weight, std::string* text) const {
    std::vector<std::string> known;
    const auto add = [&](ScalarType type) {
      if (std::find(known.begin(), known.end(), name(type)) == known.end()) known.push_back(name(type));
    };
    for (const OperandInfo& operand : op.operands)
      for (ScalarType type : operand.types) add(type);
    if (op.takes_packed_weight)
      for (ScalarType type : {SPF_BF16, SPF_F16, SPF_F32, SPF_E4M3, SPF_S8}) add(type);
    const bool has_bf16 = std::find(known.begin(), known.end(), "bf16") != known.end();
    OperandTypes types{scalar_type(has_bf16 ? "bf16" : known.front()), {}};
    std::string plain = act_;
    for (const std::string& given : types_) {
      const size_t equals = given.find('=');
      if (equals != std::string::npos) {
        const OperandInfo& operand = find_operand(op, given.substr(0, equals));
        types.named[operand.name] = scalar_type_named(given.substr(equals + 1), names(operand.types));
      } else if (plain.empty()) {
        plain = given;
      } else {
        throw UsageError("--act and --type say the same; give one");
      }
    }
    const ScalarType asked = plain.empty() ? types.usual : scalar_type_named(plain, known);
    if (!weight) {
      types.usual = asked;
      *text = name(asked);
      return types;
    }
    const OperandInfo& x = find_operand(op, "x");
    const auto takes = [&](ScalarType type) {
      return std::find(x.types.begin(), x.types.end(), type) != x.types.end();
    };
    ScalarType of_x = asked;
    if (x.types.size() == 1)
      of_x = x.types.front(); // two codes of blocks a byte: --act is of out
    else if (plain.empty() && !takes(asked))
      of_x = takes(weight->scheme.weight) ? weight->scheme.weight : x.types.front();
    if (x.types.size() == 1 || describe(asked).bits > 8) types.usual = asked;
    of_x = types.named.try_emplace("x", of_x).first->second;
    const auto named_out = types.named.find("out");
    const ScalarType of_out = named_out != types.named.end() ? named_out->second : types.usual;
    *text = fmt::format("{} x {}{}", of_x == SPF_U8 ? op.name.substr(0, op.name.find('_')) : name(of_x), weight->name,
                        of_out == of_x ? "" : ", out " + name(of_out));
    return types;
  }

  static std::vector<std::string> names(const std::vector<ScalarType>& types) {
    std::vector<std::string> out;
    for (ScalarType type : types) out.push_back(name(type));
    return out;
  }

  // What runs such a weight on a device whose kernels take no activations of this kind.
  void plan_linear_instead(const OpInfo& op, Answer* answer) const {
    if (!op.takes_packed_weight || op.name == "linear" || answer->error->status() != SPF_UNSUPPORTED) return;
    const DeviceFacts facts = device_facts(device_);
    const Device device(spf_device{facts.kind, 0});
    const Tensor x(nullptr, SPF_BF16, {*m_, *k_}, device), out(nullptr, SPF_BF16, {*m_, *n_}, device);
    try {
      answer->linear = spearfish::plan_linear(x, weight_format(weight_, group_ ? &*group_ : nullptr).scheme, *n_, *k_,
                                              std::nullopt, out, Launch(device), facts);
    } catch (const Error&) { // none either
    }
  }

  std::string required_name() const {
    const size_t equals = require_.find('=');
    // An instance holds '=' too: "linear/sm80_mma/act=bf16".
    if (equals == std::string::npos || require_.find('/') < equals) return require_;
    if (require_.substr(0, equals) != "kernel")
      throw UsageError(fmt::format("--require is '{}'; allowed: kernel=NAME", require_));
    return require_.substr(equals + 1);
  }

  static std::string describe_problem(const Extents& extents, const std::string& types,
                                      const std::optional<WeightFormat>& weight) {
    std::string out;
    for (const auto& [symbol, values] : extents) {
      std::string text;
      for (int64_t v : values) text += (text.empty() ? "" : "x") + std::to_string(v);
      out += fmt::format("{}={} ", weight && symbol == "*" ? "M" : symbol, text.empty() ? "[]" : text);
    }
    return out + types;
  }

  std::string op_, device_ = "cpu", weight_, act_, require_;
  std::optional<int64_t> m_, n_, k_, group_;
  std::vector<std::string> dims_, types_, params_, absent_, present_, forbid_;
  bool allow_8bit_ = false, allow_nondeterministic_ = false, json_ = false;
};

} // namespace

std::unique_ptr<Command> make_plan_command() { return std::make_unique<PlanCommand>(); }

} // namespace spearfish::cli

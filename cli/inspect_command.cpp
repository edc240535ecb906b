// `spearfish inspect`: what a checkpoint holds, how each layer is quantized, and what it would take to run it.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "model/linear_group.hpp"
#include "model_options.hpp"
#include "numbers.hpp"
#include "problem.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string shape_text(const model::TensorEntry& tensor) { return model::shape_text(tensor.shape); }

class InspectCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_option("PATH", path_, "A folder with config.json and safetensors, or a *.gguf or *.safetensors file")
        ->type_name("")
        ->required();
    app.add_option("--device", device_, "cpu, cuda:0, or one that is not here: cpu:avx2, sm_90, h200, ...")
        ->type_name("DEVICE")
        ->capture_default_str();
    app.add_option("--context", context_, "Positions of a sequence (default: the model's own)")->check(whole_number(1));
    app.add_option("--batch", batch_, "Sequences at once")->capture_default_str()->check(whole_number(1, 4096));
    app.add_flag("--tensors", tensors_, "Also list every tensor of the files");
    app.add_flag("--json", json_, "JSON instead of text, every tensor included");
    app.footer(std::string(kModelExitCodes) +
               "Examples: spearfish inspect models/sample\n"
               "          spearfish inspect llama-3.1-8b-int4 --device h200 --context 8192 --batch 16\n");
  }

  int run() override {
    const model::Checkpoint checkpoint = model::Checkpoint::open(path_);
    const DeviceFacts facts = device_facts(device_);
    model::RunnerOptions options;
    options.device = facts.kind == SPF_CPU ? Device::cpu() : Device::cuda(0);
    options.batch = batch_;
    options.context = context_;
    std::string refusal;
    model::ModelPlan plan;
    Exit code = kOk;
    try {
      plan = model::plan_model(checkpoint, options, &facts);
    } catch (const Error& e) {
      if (e.status() != SPF_UNSUPPORTED && e.status() != SPF_NOT_BUILT) throw;
      refusal = e.what();
      code = kNoKernel;
    }
    if (json_)
      print_json(checkpoint, plan, facts, refusal);
    else
      print_text(checkpoint, plan, facts, refusal);
    return code;
  }

 private:
  // Bytes by storage type, in the order of their first tensor.
  static std::vector<std::pair<std::string, std::pair<size_t, size_t>>> by_type(const model::Checkpoint& checkpoint) {
    std::vector<std::pair<std::string, std::pair<size_t, size_t>>> out;
    for (const model::TensorEntry& tensor : checkpoint.tensors().tensors()) {
      const std::string type = model::dtype_info(tensor.dtype).name;
      auto found = std::find_if(out.begin(), out.end(), [&](const auto& row) { return row.first == type; });
      if (found == out.end()) found = out.insert(out.end(), {type, {0, 0}});
      ++found->second.first;
      found->second.second += tensor.bytes.size();
    }
    return out;
  }

  void print_text(const model::Checkpoint& checkpoint, const model::ModelPlan& plan, const DeviceFacts& facts,
                  const std::string& refusal) const {
    fmt::print("{}\n{}\n", paint(Colour::kBold, path_), model::describe(checkpoint.config()));
    Table types({{"storage"}, {"tensors", true}, {"bytes", true}});
    for (const auto& [type, count] : by_type(checkpoint))
      types.add({type, std::to_string(count.first), bytes_text(static_cast<double>(count.second))});
    fmt::print("{}\n", types.text());
    if (tensors_) {
      Table all({{"tensor"}, {"type"}, {"shape"}, {"bytes", true}});
      for (const model::TensorEntry& t : checkpoint.tensors().tensors())
        all.add({t.name, model::dtype_info(t.dtype).name, shape_text(t), std::to_string(t.bytes.size())});
      fmt::print("{}\n", all.text());
    }
    fmt::print("on {}:\n", facts.name);
    if (!refusal.empty()) {
      std::fflush(stdout);
      fmt::print(stderr, "spearfish: {}\n", refusal);
      return;
    }
    fmt::print("{}\n", layers_table(plan));
    fmt::print("memory for {} sequence{} of {} positions: {}\n", batch_, batch_ == 1 ? "" : "s", plan.context,
               plan.memory.text());
  }

  void print_json(const model::Checkpoint& checkpoint, const model::ModelPlan& plan, const DeviceFacts& facts,
                  const std::string& refusal) const {
    const model::ModelConfig& config = checkpoint.config();
    Json out = {{"path", path_},
                {"architecture", model::architecture_name(config.architecture)},
                {"hidden", config.hidden},
                {"layers", config.layers.size()},
                {"vocab", config.vocab},
                {"max_positions", config.max_positions},
                {"device", facts.name},
                {"batch", batch_},
                {"linears", Json::array()},
                {"tensors", Json::array()}};
    for (const model::Linear* linear : checkpoint.linears())
      out["linears"].push_back({{"name", linear->name},
                                {"format", model::scheme_name(linear->weight.scheme)},
                                {"n", linear->weight.n},
                                {"k", linear->weight.k}});
    for (const model::TensorEntry& t : checkpoint.tensors().tensors())
      out["tensors"].push_back(
          {{"name", t.name}, {"type", model::dtype_info(t.dtype).name}, {"shape", t.shape}, {"bytes", t.bytes.size()}});
    if (refusal.empty()) {
      out["context"] = plan.context;
      out["plan"] = layers_json(plan);
      out["memory"] = memory_json(plan.memory);
    } else {
      out["refusal"] = refusal;
    }
    fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
  }

  std::string path_, device_ = "cpu";
  int64_t context_ = 0, batch_ = 1;
  bool tensors_ = false, json_ = false;
};

} // namespace

std::unique_ptr<Command> make_inspect_command() { return std::make_unique<InspectCommand>(); }

} // namespace spearfish::cli

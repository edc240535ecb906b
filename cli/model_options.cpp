#include "model_options.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <sys/resource.h>

#include "check/bench.hpp"
#include "check/memory.hpp"
#include "check/probe/cpu.hpp"
#include "command.hpp"
#include "numbers.hpp"
#include "problem.hpp"
#include "suggest.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Json = nlohmann::ordered_json;

// "model.layers.3.self_attn.q_proj" -> "self_attn.q_proj": the same layer of every block reads the same.
std::string place(const std::string& name) {
  const size_t digit = name.find_first_of("0123456789");
  if (digit == std::string::npos) return name;
  const size_t dot = name.find('.', digit);
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

std::string place(const model::LinearPlan& linear) {
  std::string out = place(linear.names.front());
  for (size_t i = 1; i < linear.names.size(); ++i) out += ", " + linear.names[i].substr(linear.names[i].rfind('.') + 1);
  return out;
}

// Plans of equal layers, in the order of their first.
struct Shared {
  const model::LinearPlan* plan;
  int count = 0;
  size_t bytes = 0;
};
std::vector<Shared> shared(const model::ModelPlan& plan) {
  std::vector<Shared> out;
  for (const model::LinearPlan& linear : plan.linears) {
    const auto key = [](const model::LinearPlan& l) {
      return std::tuple(place(l), l.format, l.input, l.n, l.k, l.layout, l.decode_kernel, l.decode_instance,
                        l.prefill_kernel);
    };
    auto found = std::find_if(out.begin(), out.end(), [&](const Shared& s) { return key(*s.plan) == key(linear); });
    if (found == out.end()) found = out.insert(out.end(), Shared{&linear});
    ++found->count;
    found->bytes += linear.packed_bytes;
  }
  return out;
}

} // namespace

Device parse_device(const std::string& name) {
  if (name == "cpu" || name == "cpu:0") return Device::cpu();
  if (name == "cuda") return Device::cuda(0);
  if (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 &&
      name.find_first_not_of("0123456789", 5) == std::string::npos)
    return Device::cuda(std::stoi(name.substr(5)));
  throw UsageError("'" + name + "' is no device; known: cpu, cuda, cuda:N");
}

std::unique_ptr<model::Tokenizer> tokenizer_of(const std::string& path, const model::Checkpoint& checkpoint) {
  const std::filesystem::path at(path);
  const model::ModelConfig& config = checkpoint.config();
  const std::optional<int32_t> begin =
      config.bos.empty() ? std::nullopt : std::optional(static_cast<int32_t>(config.bos.front()));
  return model::open_tokenizer(std::filesystem::is_directory(at) ? at : at.parent_path(), config.vocab, begin);
}

void ModelOptions::define(CLI::App& app) {
  app.add_option("MODEL", path, "A folder with config.json and safetensors, or a *.gguf or *.safetensors file")
      ->type_name("")
      ->required();
  app.add_option("--device", device_name, "cpu, cuda or cuda:N")->type_name("DEVICE")->capture_default_str();
  app.add_option("--format", format_, "Round the linear layers to this weight format when loading")->type_name("NAME");
  app.add_option("--act", activation_, "Scalar type of the activations and the cache: bf16, f16 or f32")
      ->capture_default_str();
  app.add_option("--memory", memory_limit_, "MiB of the device to use at most (default: what is there)")
      ->type_name("MIB")
      ->check(positive_number());
  app.add_flag("--allow-8bit-activation", allow_8bit_, "Kernels may quantize activations to 8 bits");
  app.add_option("--linear-input", linear_input_,
                 "Quantize what linear layers read to e4m3 or s8, a scale a token, or to e2m1, in the blocks of NVFP4 "
                 "and MXFP4 "
                 "weights, where a kernel multiplies the weight so")
      ->type_name("TYPE");
  app.add_option("--threads", threads_, "CPU threads (default: OMP_NUM_THREADS or all cores)")
      ->check(whole_number(1, 4096));
}

Device ModelOptions::device() const { return parse_device(device_name); }

void ModelOptions::open() {
  (void)device();
  (void)scalar_type_named(activation_, {"bf16", "f16", "f32"});
  if (!linear_input_.empty()) (void)scalar_type_named(linear_input_, {"e4m3", "s8", "e2m1"});
  const std::vector<std::string> formats = quant_scheme_names();
  if (!format_.empty() && std::find(formats.begin(), formats.end(), format_) == formats.end())
    throw UsageError(unknown_word("weight format", format_, formats));
  if (threads_) check(spf_cpu_set_threads(*threads_));
  checkpoint_.emplace(model::Checkpoint::open(path));
  checkpoint_->check_finite();
  if (!format_.empty()) rounded_.emplace(*checkpoint_, format_);
}

model::RunnerOptions ModelOptions::runner_options() const {
  model::RunnerOptions options;
  options.device = device();
  options.activation = scalar_type(activation_);
  options.memory_limit = static_cast<size_t>(memory_limit_ * 1048576.0);
  options.allow_activation_8bit = allow_8bit_;
  if (!linear_input_.empty()) options.linear_input = scalar_type(linear_input_);
  if (rounded_) options.weight = rounded_->choice();
  return options;
}

std::string layers_table(const model::ModelPlan& plan) {
  Table table({{"layers", true},
               {"linear"},
               {"format"},
               {"N", true},
               {"K", true},
               {"MiB", true},
               {"layout"},
               {"decode kernel"},
               {"prefill kernel"}});
  for (const Shared& s : shared(plan)) {
    const model::LinearPlan& l = *s.plan;
    table.add({std::to_string(s.count), place(l), l.format + (l.input.empty() ? "" : " x " + l.input),
               std::to_string(l.n), std::to_string(l.k),
               fmt::format("{:.2f}", static_cast<double>(s.bytes) / 1048576.0), l.layout, l.decode_kernel,
               l.prefill_kernel == l.decode_kernel ? "same" : l.prefill_kernel});
  }
  return table.text();
}

Json layers_json(const model::ModelPlan& plan) {
  Json rows = Json::array();
  for (const Shared& s : shared(plan)) {
    const model::LinearPlan& l = *s.plan;
    rows.push_back({{"layers", s.count},
                    {"linear", place(l)},
                    {"format", l.format},
                    {"input", l.input},
                    {"n", l.n},
                    {"k", l.k},
                    {"packed_bytes", s.bytes},
                    {"layout", l.layout},
                    {"decode", {{"kernel", l.decode_kernel}, {"instance", l.decode_instance}}},
                    {"prefill", {{"kernel", l.prefill_kernel}, {"instance", l.prefill_instance}}}});
  }
  return rows;
}

Json memory_json(const model::MemoryNeed& need) {
  return {{"weights", need.weights},
          {"cache", need.cache},
          {"activations", need.activations},
          {"workspace", need.workspace},
          {"total", need.total()}};
}

double read_limit(Device device, size_t bytes) {
  if (device == Device::cpu()) return spf::check::measure_read_bandwidth(bytes, spf_cpu_threads());
  const auto memory = spf::check::open_device("cuda:" + std::to_string(device.index));
  return spf::check::measure_cuda(*memory).read_bytes_per_second;
}

double decode_bytes(const model::Checkpoint& checkpoint, const model::RunnerOptions& options,
                    const model::ModelPlan& plan, double positions) {
  double weights = 0;
  for (const model::LinearPlan& linear : plan.linears) weights += static_cast<double>(linear.packed_bytes);
  const model::ModelConfig& config = checkpoint.config();
  const auto element = static_cast<double>(describe(options.activation).bits) / 8;
  double cache = 0;
  for (const model::LayerConfig& layer : config.layers) {
    const double seen = layer.window > 0 ? std::min(positions, static_cast<double>(layer.window)) : positions;
    cache += 2 * seen * static_cast<double>(config.kv_heads * config.head_dim) * element;
  }
  return weights + static_cast<double>(options.batch) * cache;
}

size_t peak_process_memory() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

} // namespace spearfish::cli

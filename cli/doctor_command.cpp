// `spearfish doctor`: what this machine has, what this build holds, whether all of it runs, and what adds the rest.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "check/run.hpp"
#include "command.hpp"
#include "problem.hpp"
#include "spearfish/spearfish.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::pair<const char*, uint32_t> kCpuFeatures[] = {{"avx2", SPF_CPU_AVX2},
                                                             {"avx512", SPF_CPU_AVX512},
                                                             {"avx512_vnni", SPF_CPU_AVX512_VNNI},
                                                             {"avx512_bf16", SPF_CPU_AVX512_BF16},
                                                             {"amx_int8", SPF_CPU_AMX_INT8},
                                                             {"amx_bf16", SPF_CPU_AMX_BF16}};

std::vector<std::string> feature_names(uint32_t features) {
  std::vector<std::string> out;
  for (const auto& [name, bit] : kCpuFeatures)
    if ((features & bit) != 0) out.emplace_back(name);
  return out;
}

// "13.0" -> 13000, as drivers number it; 0 for "".
int32_t toolkit_number(const std::string& toolkit) {
  char* end = nullptr;
  const long major = std::strtol(toolkit.c_str(), &end, 10);
  const long minor = *end == '.' ? std::strtol(end + 1, nullptr, 10) : 0;
  return static_cast<int32_t>(1000 * major + 10 * minor);
}

std::string driver_text(int32_t number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

// "9.0" of compute capability 90.
std::string capability_text(int32_t capability) { return fmt::format("{}.{}", capability / 10, capability % 10); }

// The first line of a file; "" if it cannot be read.
std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// The nvcc that a build would find: $CUDACXX, PATH, the usual place. "" if there is none.
std::string find_nvcc() {
  std::vector<fs::path> candidates;
  if (const char* given = std::getenv("CUDACXX")) candidates.emplace_back(given);
  if (const char* path = std::getenv("PATH")) {
    std::string folders = path;
    for (size_t begin = 0; begin <= folders.size();) {
      const size_t end = std::min(folders.find(':', begin), folders.size());
      candidates.push_back(fs::path(folders.substr(begin, end - begin)) / "nvcc");
      begin = end + 1;
    }
  }
  candidates.emplace_back("/usr/local/cuda/bin/nvcc");
  for (const fs::path& candidate : candidates)
    if (candidate.is_absolute() && access(candidate.c_str(), X_OK) == 0) return candidate.string();
  return "";
}

enum class Level { kOk, kAdvice, kBroken };

// One thing that was looked at. `remedy` is a command or an option; "" where nothing is to be done.
struct Finding {
  Level level;
  std::string what, remedy;
};

const char* level_name(Level level) {
  return level == Level::kOk ? "ok" : level == Level::kAdvice ? "advice" : "broken";
}

class DoctorCommand : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(
        "Exit codes: 0 everything that this build promises runs here, 1 something does not, 2 wrong usage.\n"
        "Example: spearfish doctor --json\n");
  }

  int run() override {
    cpu_ = facts(Device::cpu());
    for (int i = 0; i < cuda_device_count(); ++i) gpus_.push_back(facts(Device::cuda(i)));
    targets_ = spf_built_targets();
    toolkit_ = spf_built_toolkit();
    nvcc_ = find_nvcc();
    check_threads();
    check_cpu_ops();
    if (toolkit_.empty())
      check_cpu_only_build();
    else
      check_cuda_build();
    if (json_)
      fmt::print("{}\n", to_json().dump(2));
    else
      print_text();
    return works() ? kOk : kFailure;
  }

 private:
  void add(Level level, std::string what, std::string remedy = "") {
    findings_.push_back({level, std::move(what), std::move(remedy)});
  }

  bool works() const {
    return std::none_of(findings_.begin(), findings_.end(), [](const Finding& f) { return f.level == Level::kBroken; });
  }

  void check_threads() {
    const auto cores = static_cast<int>(std::thread::hardware_concurrency());
    if (spf_cpu_threads() < cores)
      add(Level::kAdvice, fmt::format("CPU kernels use {} of {} hardware threads", spf_cpu_threads(), cores),
          "unset OMP_NUM_THREADS, or set it higher");
  }

  // The smallest cases of an op, one for each combination of types, or for each format of its packed weight: numbers
  // and ids that its header allows.
  static std::vector<spf::check::Problem> small_problems(const std::string& op) {
    static const std::vector<spf::check::Case> cases = spf::check::embedded_cases({});
    using Kind = std::map<std::string, std::string>;
    std::map<Kind, spf::check::Problem> smallest;
    for (const spf::check::Case& c : cases) {
      if (c.op != op || c.bench) continue;
      const spf::check::Problem problem = spf::check::make_problem(c);
      const bool empty =
          problem.rows() == 0 || std::any_of(problem.operands.begin(), problem.operands.end(),
                                             [](const auto& o) { return o.present && o.elements() == 0; });
      const Kind kind = c.weight.empty() ? c.types : Kind{{"weight", c.weight}};
      const auto found = smallest.find(kind);
      if (empty || (found != smallest.end() && problem.elements() >= found->second.elements())) continue;
      if (spf::check::is_legal(problem)) smallest.insert_or_assign(kind, problem); // others are there to be refused
    }
    std::vector<spf::check::Problem> out;
    for (const auto& [kind, problem] : smallest) out.push_back(problem);
    return out;
  }

  // Runs every op on a few numbers, in every combination of types or with every weight format.
  void check_cpu_ops() {
    size_t calls = 0, failures = 0;
    const std::vector<OpInfo> all = ops();
    const auto attempt = [&](const std::string& what, const auto& body) {
      ++calls;
      try {
        body();
      } catch (const std::exception& e) {
        ++failures;
        add(Level::kBroken, fmt::format("{} does not run on the CPU: {}", what, e.what()),
            fmt::format("report it, with the output of: spearfish doctor --json"));
      }
    };
    const std::unique_ptr<spf::check::Memory> memory = spf::check::open_device("cpu");
    for (const OpInfo& op : all) {
      for (const spf::check::Problem& problem : small_problems(op.name))
        attempt(op.name + " " + problem.name, [&] { run_small(*memory, problem); });
    }
    if (failures == 0)
      add(Level::kOk,
          fmt::format("{} ops run on the CPU, in all types and weight formats ({} calls)", all.size(), calls));
  }

  static void run_small(spf::check::Memory& memory, const spf::check::Problem& problem) {
    const std::vector<spf::check::Layout> contiguous(problem.operands.size());
    const auto inputs = spf::check::make_inputs(problem, spf::check::Pattern::kPlain);
    const spf::check::Outcome outcome = spf::check::run({memory}, problem, inputs, contiguous, {});
    if (outcome.status != SPF_OK) throw std::runtime_error(outcome.error.message);
    if (!outcome.damage.empty()) throw std::runtime_error(outcome.damage);
  }

  void check_cpu_only_build() {
    const std::string build = nvcc_.empty() ? "scripts/setup cuda && cmake --preset cuda && cmake --build --preset cuda"
                                            : "cmake --preset cuda && cmake --build --preset cuda";
    if (fs::exists("/proc/driver/nvidia/version"))
      add(Level::kAdvice, "an NVIDIA driver is here, but this build holds no CUDA kernels", build);
    else
      add(Level::kOk, "this build is for the CPU; with CUDA: " + build);
  }

  void check_cuda_build() {
    const int32_t driver = spf_cuda_driver_version();
    if (gpus_.empty()) {
      const std::string remedy =
          !fs::exists("/proc/driver/nvidia/version")
              ? "install the NVIDIA driver; in a container, start it with GPU access (--gpus all)"
          : driver / 1000 < toolkit_number(toolkit_) / 1000
              ? fmt::format("update the driver to one for CUDA {}, or build with a toolkit of CUDA {} or older",
                            toolkit_, driver_text(driver))
              : "check nvidia-smi and CUDA_VISIBLE_DEVICES";
      add(Level::kBroken,
          fmt::format("this build holds CUDA kernels for {}, and no CUDA device is usable: {}", targets_,
                      spf_cuda_absence()),
          remedy);
      return;
    }
    for (size_t i = 0; i < gpus_.size(); ++i) check_gpu(static_cast<int>(i));
  }

  // Every op must have a plan on the device, unless no build has a kernel for it there.
  void check_gpu(int index) {
    const DeviceFacts& gpu = gpus_[static_cast<size_t>(index)];
    const std::string where = fmt::format("cuda:{} ({}, {})", index, gpu.name, capability_text(gpu.compute_capability));
    std::vector<std::string> runs, not_built, without;
    const std::unique_ptr<spf::check::Memory> memory = spf::check::open_device(fmt::format("cuda:{}", index));
    for (const OpInfo& op : ops()) {
      for (const spf::check::Problem& problem : small_problems(op.name)) {
        const std::vector<spf::check::Layout> contiguous(problem.operands.size());
        spf_status status = SPF_OK;
        spf::check::Call({*memory}, problem, contiguous).query({}, &status);
        (status == SPF_OK ? runs : status == SPF_NOT_BUILT ? not_built : without).push_back(op.name);
        break;
      }
    }
    if (!runs.empty())
      add(Level::kOk, fmt::format("{}: kernels for {} ops; 'spearfish check' runs them", where, runs.size()));
    if (!not_built.empty())
      add(Level::kBroken,
          fmt::format("{}: this build ({}) holds no code for {}", where, targets_, fmt::join(not_built, ", ")),
          fmt::format("cmake --preset cuda -DSPEARFISH_CUDA_ARCHS='{};{}' && cmake --build --preset cuda", targets_,
                      capability_text(gpu.compute_capability)));
    if (!without.empty())
      add(Level::kAdvice, fmt::format("{}: no kernel of any build for {}", where, fmt::join(without, ", ")),
          "run these on the CPU");
  }

  void print_text() const {
    fmt::print("{}\n\n", spf_version_string());
    const auto line = [](const char* name, const std::string& text) { fmt::print("  {:<9}{}\n", name, text); };
    const auto features = feature_names(cpu_.cpu_features);
    line("cpu", fmt::format("{}, {} threads, {}", cpu_.name, spf_cpu_threads(),
                            features.empty() ? "x86-64" : fmt::format("{}", fmt::join(features, " "))));
    line("memory", fmt::format("{}, last-level cache {}", bytes_text(static_cast<double>(cpu_.memory_bytes)),
                               bytes_text(static_cast<double>(cpu_.l2_bytes))));
    for (size_t i = 0; i < gpus_.size(); ++i)
      line(fmt::format("cuda:{}", i).c_str(),
           fmt::format("{}, {}, {} multiprocessors, {}", gpus_[i].name, capability_text(gpus_[i].compute_capability),
                       gpus_[i].sm_count, bytes_text(static_cast<double>(gpus_[i].memory_bytes))));
    if (gpus_.empty()) line("cuda", std::string("no device: ") + spf_cuda_absence());
    if (const int32_t driver = spf_cuda_driver_version())
      line("driver", "CUDA " + driver_text(driver));
    else if (const std::string version = first_line("/proc/driver/nvidia/version"); !version.empty())
      line("driver", version);
    line("toolkit", (toolkit_.empty() ? "none in this build" : toolkit_) +
                        (nvcc_.empty() ? "; no nvcc here" : "; nvcc: " + nvcc_));
    line("targets", targets_.empty() ? "CPU only" : targets_);
    fmt::print("\n");
    for (const Finding& f : findings_) {
      const Colour colour = f.level == Level::kOk       ? Colour::kGood
                            : f.level == Level::kAdvice ? Colour::kWarn
                                                        : Colour::kBad;
      fmt::print("  {}{}{}\n", paint(colour, level_name(f.level)),
                 std::string(8 - std::string(level_name(f.level)).size(), ' '), f.what);
      if (!f.remedy.empty()) fmt::print("          to do: {}\n", paint(Colour::kBold, f.remedy));
    }
  }

  Json to_json() const {
    Json out = {
        {"version", spf_version_string()},
        {"cpu",
         {{"name", cpu_.name},
          {"threads", spf_cpu_threads()},
          {"features", feature_names(cpu_.cpu_features)},
          {"memory_bytes", cpu_.memory_bytes},
          {"cache_bytes", cpu_.l2_bytes}}},
        {"cuda", {{"devices", Json::array()}, {"driver", spf_cuda_driver_version()}, {"absence", spf_cuda_absence()}}},
        {"build", {{"targets", targets_}, {"toolkit", toolkit_}}},
        {"nvcc", nvcc_},
        {"findings", Json::array()},
        {"ok", works()}};
    for (const DeviceFacts& gpu : gpus_)
      out["cuda"]["devices"].push_back({{"name", gpu.name},
                                        {"compute_capability", capability_text(gpu.compute_capability)},
                                        {"sm_count", gpu.sm_count},
                                        {"memory_bytes", gpu.memory_bytes}});
    for (const Finding& f : findings_)
      out["findings"].push_back({{"level", level_name(f.level)}, {"what", f.what}, {"remedy", f.remedy}});
    return out;
  }

  bool json_ = false;
  DeviceFacts cpu_;
  std::vector<DeviceFacts> gpus_;
  std::string targets_, toolkit_, nvcc_;
  std::vector<Finding> findings_;
};

} // namespace

std::unique_ptr<Command> make_doctor_command() { return std::make_unique<DoctorCommand>(); }

} // namespace spearfish::cli

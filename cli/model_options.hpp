// What the commands that run a model share: which model, on what, in how much memory.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "model/rounded_weights.hpp"
#include "model/runner.hpp"
#include "model/tokenizer.hpp"

namespace spearfish::cli {

// The exit codes of these commands, for their --help.
inline constexpr const char* kModelExitCodes =
    "Exit codes: 0 success, 1 failure, 2 wrong usage (a prompt without tokens, a context too long, ...), 3 no kernel\n"
    "serves a layer here, 4 a file is missing, corrupt or not served, 5 not enough memory (the message says how "
    "much).\n";

// The tokenizer beside a checkpoint that was opened from `path`.
std::unique_ptr<model::Tokenizer> tokenizer_of(const std::string& path, const model::Checkpoint& checkpoint);

class ModelOptions {
 public:
  void define(CLI::App& app);

  // Opens the checkpoint, reads every number of it once, rounds it if --format says so.
  void open();
  const model::Checkpoint& checkpoint() const { return *checkpoint_; }
  std::unique_ptr<model::Tokenizer> tokenizer() const { return tokenizer_of(path, *checkpoint_); }
  model::RunnerOptions runner_options() const; // context and batch are the command's
  Device device() const;

  std::string path, device_name = "cpu";

 private:
  std::string activation_ = "bf16", format_, linear_input_;
  double memory_limit_ = 0; // MiB
  bool allow_8bit_ = false;
  std::optional<int32_t> threads_;
  std::optional<model::Checkpoint> checkpoint_;
  std::optional<model::RoundedWeights> rounded_;
};

// "cpu", "cuda", "cuda:1". Throws UsageError for another name.
Device parse_device(const std::string& name);

// Layers of equal format, shape and kernel as one row: count, example, format, n, k, kernels, bytes. Instances stand in
// the JSON.
std::string layers_table(const model::ModelPlan& plan);
nlohmann::ordered_json layers_json(const model::ModelPlan& plan);
nlohmann::ordered_json memory_json(const model::MemoryNeed& need);

// Bytes per second at which the device reads `bytes` again and again; 0 if it cannot be measured.
double read_limit(Device device, size_t bytes);

// Bytes that one decode step reads at least: every packed weight, and the keys and values of `positions` positions of
// each sequence.
double decode_bytes(const model::Checkpoint& checkpoint, const model::RunnerOptions& options,
                    const model::ModelPlan& plan, double positions);

// The most memory that this process has had, in bytes.
size_t peak_process_memory();

} // namespace spearfish::cli

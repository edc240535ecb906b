#include "model/runner.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "model/decoder.hpp"
#include "model/kv_pages.hpp"

namespace spearfish::model {
namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& value, const std::string& allowed) {
  throw Error(SPF_INVALID_ARGUMENT, "", field, value, allowed);
}

void expect_range(const char* field, int64_t value, int64_t lo, int64_t hi) {
  if (value < lo || value > hi) refuse(field, std::to_string(value), std::to_string(lo) + " to " + std::to_string(hi));
}

// Options with every default filled in, or a refusal.
RunnerOptions resolved(const Checkpoint& checkpoint, RunnerOptions options) {
  const ModelConfig& config = checkpoint.config();
  if (options.context == 0) options.context = config.max_positions;
  expect_range("context", options.context, 1, config.max_positions);
  expect_range("batch", options.batch, 1, 4096);
  expect_range("step_tokens", options.step_tokens, 1, 65536);
  expect_range("block_size", options.block_size, 1, 256);
  options.step_tokens = std::min(options.step_tokens, options.context);
  const ScalarType type = options.activation;
  if (type != SPF_BF16 && type != SPF_F16 && type != SPF_F32) refuse("activation", name(type), "bf16, f16, f32");
  if (options.observer != nullptr && options.device != Device::cpu()) refuse("observer", "given for a GPU", "the CPU");
  return options;
}

std::string mib(size_t bytes) {
  const double value = static_cast<double>(bytes) / 1048576.0;
  const auto tenths = static_cast<int64_t>(std::ceil(value * 10));
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

// cap * tanh(logit / cap); a cap of 0 is none.
void cap_logits(std::span<float> logits, double cap) {
  if (cap == 0) return;
  for (float& v : logits) v = static_cast<float>(cap * std::tanh(static_cast<double>(v) / cap));
}

// The parts of a runner that need no device: what is planned is what then runs.
struct Model {
  Model(const Checkpoint& from, const RunnerOptions& given, const DeviceFacts* facts)
      : checkpoint(from),
        options(resolved(from, given)),
        launch(options.device),
        weights(from, options),
        decoder(from, options, weights) {
    // A kernel's start hides behind the end of the one before it: a step is ten short kernels a layer.
    launch.allow_activation_8bit(options.allow_activation_8bit).pdl(options.device.kind != SPF_CPU);
    weights.choose_layouts(facts, options.step_tokens);
    plan.context = options.context;
    plan.memory.weights = weights.lay_out(nullptr);
    plan.memory.cache = decoder.cache_bytes();
    plan.memory.activations = decoder.lay_out(nullptr, nullptr);
    for (const DeviceLinear* linear : weights.linears()) {
      LinearPlan row;
      for (const LinearPart& part : linear->group.parts) row.names.push_back(part.linear->name);
      row.format = scheme_name(linear->group.scheme);
      switch (linear->input_blocks()) {
        case SPF_FORMAT_NONE:
          if (linear->input != SPF_TYPE_NONE) row.input = spearfish::name(linear->input);
          break;
        default:
          row.input = linear->input_blocks() == SPF_FORMAT_NVFP4   ? "nvfp4"
                      : linear->input_blocks() == SPF_FORMAT_MXFP4 ? "mxfp4"
                                                                   : "mxfp8";
      }
      row.n = linear->group.n;
      row.k = linear->group.k;
      row.layout = linear->layout;
      row.packed_bytes = linear->bytes;
      row_of[linear->group.name()] = plan.linears.size();
      plan.linears.push_back(std::move(row));
    }
    enum class Step { kDecode, kPrefill, kShort };
    const auto planned = [&](const Program& program, Step step) {
      const auto visit = [&](const std::string& what, const Plan& p) {
        const auto row = row_of.find(what);
        if (row == row_of.end() || step == Step::kShort) return;
        const bool decodes = step == Step::kDecode;
        LinearPlan& linear = plan.linears[row->second];
        (decodes ? linear.decode_kernel : linear.prefill_kernel) = p.kernel();
        (decodes ? linear.decode_instance : linear.prefill_instance) = p.instance();
      };
      plan.memory.workspace = std::max(plan.memory.workspace, program.plan(launch, facts, visit));
    };
    planned(decoder.prefill(0, options.step_tokens), Step::kPrefill);
    planned(decoder.prefill(0, 1), Step::kShort);
    planned(decoder.decode(), Step::kDecode);
    planned(decoder.head(0, std::min(decoder.logit_rows(), options.step_tokens), 0), Step::kShort);
    planned(decoder.head(0, 1, 0), Step::kPrefill);
    planned(decoder.head(0, options.batch, 0), Step::kDecode);
    planned(decoder.draw(0, options.batch), Step::kDecode);
    planned(decoder.draw(0, 1), Step::kShort);
  }

  const Checkpoint& checkpoint;
  const RunnerOptions options;
  Launch launch;
  ModelWeights weights;
  Decoder decoder;
  ModelPlan plan;
  std::map<std::string, size_t> row_of; // of plan.linears, by the group's name
};

} // namespace

std::string MemoryNeed::text() const {
  return mib(total()) + ": weights " + mib(weights) + ", cache " + mib(cache) + ", activations " + mib(activations) +
         ", workspace " + mib(workspace);
}

ModelPlan plan_model(const Checkpoint& checkpoint, const RunnerOptions& options, const DeviceFacts* facts) {
  return Model(checkpoint, options, facts).plan;
}

class Runner::Impl : public Model {
 public:
  Impl(const Checkpoint& from, const RunnerOptions& given)
      : Model(from, given, nullptr),
        memory(open_device_memory(options.device)),
        pages(options.batch, options.context, options.block_size),
        next_(static_cast<size_t>(options.batch)) {
    const size_t limit = options.memory_limit != 0 ? options.memory_limit : memory->available();
    if (plan.memory.total() > limit)
      throw Error(SPF_OUT_OF_MEMORY, checkpoint.tensors().name(), "memory needed",
                  plan.memory.text() + "; context " + std::to_string(options.context) + ", batch " +
                      std::to_string(options.batch),
                  "at most " + mib(limit));
    weight_block_ = memory->allocate(plan.memory.weights);
    cache_block_ = memory->allocate(plan.memory.cache);
    activation_block_ = memory->allocate(plan.memory.activations);
    workspace_ = memory->allocate(plan.memory.workspace);
    weights.lay_out(weight_block_.data());
    weights.load(*memory);
    decoder.lay_out(activation_block_.data(), cache_block_.data());
    host_ = memory->allocate_host(decoder.host_bytes());
    decoder.set_host(host_.data());
    for (int64_t i = 0; i < options.batch; ++i) set_sampling(i, {});
    launch.stream(memory->stream()).workspace(workspace_.data(), workspace_.bytes());
    memory->wait();
  }

  void check_sequence(int64_t sequence) const { expect_range("sequence", sequence, 0, options.batch - 1); }

  void set_sampling(int64_t sequence, const SamplingOptions& sampling) {
    // The cap changes no order, so the likeliest token needs none.
    if (sampling.temperature > 0 && checkpoint.config().logit_softcap != 0 && !memory->is_cpu())
      throw Error(SPF_UNSUPPORTED, checkpoint.tensors().name(), "temperature", std::to_string(sampling.temperature),
                  "0 on a GPU for models that cap their logits");
    decoder.temperature[sequence] = static_cast<float>(sampling.temperature);
    decoder.top_k[sequence] = sampling.top_k;
    decoder.top_p[sequence] = static_cast<float>(sampling.top_p);
    decoder.min_p[sequence] = static_cast<float>(sampling.min_p);
    decoder.seeds[sequence] = static_cast<int64_t>(sampling.seed);
  }

  void check_tokens(int64_t sequence, std::span<const int32_t> tokens) const {
    if (tokens.empty()) refuse("tokens", "none", "at least one");
    for (const int32_t id : tokens) expect_range("token id", id, 0, checkpoint.config().vocab - 1);
    const int64_t length = pages.length(sequence) + static_cast<int64_t>(tokens.size());
    if (length > options.context)
      refuse("positions", std::to_string(length), "at most " + std::to_string(options.context) + ", the context");
  }

  // The inputs of one prefill step: `tokens` behind what the sequence has.
  void fill(int64_t sequence, std::span<const int32_t> tokens) {
    const int64_t before = pages.length(sequence), count = static_cast<int64_t>(tokens.size());
    pages.extend(sequence, count);
    for (int64_t i = 0; i < count; ++i) {
      decoder.ids[i] = tokens[static_cast<size_t>(i)];
      decoder.positions[i] = before + i;
      decoder.slots[i] = pages.slot(sequence, before + i);
    }
    decoder.query_offsets[0] = 0;
    decoder.query_offsets[1] = static_cast<int32_t>(count);
    fill_sequences();
  }

  void fill_sequences() {
    for (int64_t i = 0; i < options.batch; ++i) {
      decoder.lengths[i] = static_cast<int32_t>(pages.length(i));
      decoder.draw_positions[i] = pages.length(i);
    }
    const std::span<const int32_t> tables = pages.tables();
    std::memcpy(decoder.tables.host, tables.data(), tables.size_bytes());
  }

  // Runs prefill steps over all tokens; after each calls `each(first token of the step, tokens of the step)`.
  template <class Each>
  void forward(int64_t sequence, std::span<const int32_t> tokens, const Each& each) {
    const auto most = static_cast<size_t>(options.step_tokens);
    for (size_t at = 0; at < tokens.size(); at += most) {
      const std::span<const int32_t> part = tokens.subspan(at, std::min(most, tokens.size() - at));
      fill(sequence, part);
      decoder.copy_inputs(*memory);
      run(decoder.prefill(sequence, static_cast<int64_t>(part.size())));
      each(static_cast<int64_t>(at), static_cast<int64_t>(part.size()));
      memory->wait(); // the inputs are about to change
    }
  }

  // Plans what has not been planned for this many rows; the workspace may have to grow.
  void run(const Program& program) {
    const size_t needed = program.plan(launch, nullptr);
    if (needed > workspace_.bytes()) {
      memory->wait();
      workspace_ = memory->allocate(needed);
      launch.workspace(workspace_.data(), workspace_.bytes());
      decode_ = nullptr; // recorded with the old one
    }
    program.run(launch);
  }

  int32_t prefill(int64_t sequence, std::span<const int32_t> tokens) {
    check_sequence(sequence);
    check_tokens(sequence, tokens);
    const auto count = static_cast<int64_t>(tokens.size());
    forward(sequence, tokens, [&](int64_t at, int64_t rows) {
      if (at + rows < count) return;
      run(decoder.head(rows - 1, 1, sequence));
      run(decoder.draw(sequence, 1));
      decoder.copy_results(*memory);
    });
    check_drawn(sequence);
    return decoder.drawn[sequence];
  }

  std::span<const int32_t> step(std::span<const int32_t> tokens) {
    if (static_cast<int64_t>(tokens.size()) != options.batch)
      refuse("tokens", std::to_string(tokens.size()), std::to_string(options.batch) + ", one a sequence");
    for (int64_t i = 0; i < options.batch; ++i)
      if (token(tokens, i) >= 0) check_tokens(i, tokens.subspan(static_cast<size_t>(i), 1));
    for (int64_t i = 0; i < options.batch; ++i) {
      const bool runs = token(tokens, i) >= 0;
      const int64_t position = pages.length(i);
      if (runs) pages.extend(i, 1);
      decoder.ids[i] = runs ? token(tokens, i) : 0;
      decoder.positions[i] = runs ? position : 0;
      decoder.slots[i] = runs ? pages.slot(i, position) : -1;
    }
    fill_sequences();
    for (int64_t i = 0; i < options.batch; ++i)
      if (token(tokens, i) < 0) decoder.lengths[i] = 0;
    if (!decode_) record();
    decode_();
    memory->wait();
    for (int64_t i = 0; i < options.batch; ++i) {
      const bool runs = token(tokens, i) >= 0;
      if (runs) check_drawn(i);
      next_[static_cast<size_t>(i)] = runs ? decoder.drawn[i] : -1;
    }
    return next_;
  }

  static int32_t token(std::span<const int32_t> tokens, int64_t i) { return tokens[static_cast<size_t>(i)]; }

  void record() {
    body_ = decoder.decode();
    head_ = decoder.head(0, options.batch, 0);
    draw_ = decoder.draw(0, options.batch);
    decode_ = memory->record([this] {
      decoder.copy_inputs(*memory);
      body_.run(launch);
      head_.run(launch);
      draw_.run(launch);
      decoder.copy_results(*memory);
    });
  }

  void check_drawn(int64_t sequence) const {
    if (decoder.flags[sequence] != 0)
      throw Error(SPF_CORRUPT_DATA, checkpoint.tensors().name(), "logits", "not finite",
                  "finite numbers: weights or activations overflow or hold NaN");
  }

  std::vector<float> read_logits(int64_t row, int64_t count) {
    std::vector<float> out(static_cast<size_t>(count * checkpoint.config().vocab));
    memory->copy_out(out.data(), decoder.logits(row), out.size() * sizeof(float));
    memory->wait();
    if (!memory->is_cpu()) cap_logits(out, checkpoint.config().logit_softcap); // on the CPU they are already
    return out;
  }

  void evaluate(std::span<const int32_t> tokens, int64_t first,
                const std::function<void(int64_t, std::span<const float>)>& visit) {
    pages.clear(0);
    check_tokens(0, tokens);
    const int64_t vocab = checkpoint.config().vocab;
    forward(0, tokens, [&](int64_t at, int64_t rows) {
      for (int64_t row = std::max<int64_t>(first - at, 0); row < rows; row += decoder.logit_rows()) {
        const int64_t count = std::min(decoder.logit_rows(), rows - row);
        run(decoder.head(row, count, 0));
        const std::vector<float> values = read_logits(0, count);
        for (int64_t i = 0; i < count; ++i)
          visit(at + row + i, std::span(values).subspan(static_cast<size_t>(i * vocab), static_cast<size_t>(vocab)));
      }
    });
    pages.clear(0);
  }

  std::unique_ptr<DeviceMemory> memory;
  KvPages pages;

 private:
  MemoryBlock weight_block_, cache_block_, activation_block_, workspace_, host_;
  Program body_, head_, draw_;
  std::function<void()> decode_; // a whole step, once recorded
  std::vector<int32_t> next_;
};

Runner::Runner(const Checkpoint& checkpoint, const RunnerOptions& options)
    : impl_(std::make_unique<Impl>(checkpoint, options)) {}
Runner::~Runner() = default;
Runner::Runner(Runner&&) noexcept = default;

const ModelPlan& Runner::plan() const noexcept { return impl_->plan; }
int64_t Runner::vocab() const noexcept { return impl_->checkpoint.config().vocab; }
int64_t Runner::length(int64_t sequence) const {
  impl_->check_sequence(sequence);
  return impl_->pages.length(sequence);
}
void Runner::clear(int64_t sequence) {
  impl_->check_sequence(sequence);
  impl_->pages.clear(sequence);
}
void Runner::set_sampling(int64_t sequence, const SamplingOptions& options) {
  impl_->check_sequence(sequence);
  impl_->set_sampling(sequence, options);
}
int32_t Runner::prefill(int64_t sequence, std::span<const int32_t> tokens) { return impl_->prefill(sequence, tokens); }
std::span<const int32_t> Runner::step(std::span<const int32_t> tokens) { return impl_->step(tokens); }
std::vector<float> Runner::logits(int64_t sequence) const {
  impl_->check_sequence(sequence);
  return impl_->read_logits(sequence, 1);
}
void Runner::evaluate(std::span<const int32_t> tokens, int64_t first,
                      const std::function<void(int64_t, std::span<const float>)>& visit) {
  impl_->evaluate(tokens, first, visit);
}
size_t Runner::memory() const noexcept { return impl_->memory->peak(); }

} // namespace spearfish::model

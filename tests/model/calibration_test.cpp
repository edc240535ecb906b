// Calibration: the moments are those of what the layers read, and what is rounded with them loses less.
#include "model/calibration.hpp"

#include <cmath>
#include <cstdio>
#include <map>

#include "model/perplexity.hpp"
#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish;
using namespace spearfish::model;

const fs::path kModels = SPF_TEST_DATA "/models";
const fs::path kSample = SPF_SOURCE_DIR "/models/sample";

// Every row that a linear reads, kept as it is.
struct Recorder : LinearObserver {
  void observe(const Linear& linear, const Tensor& x) override {
    std::vector<float>& to = rows[linear.name];
    for (int64_t i = 0; i < x.extent(0); ++i) {
      const float* row = static_cast<const float*>(x.data()) + i * x.stride(0);
      to.insert(to.end(), row, row + x.extent(1));
    }
  }
  std::map<std::string, std::vector<float>> rows;
};

void expect_moments_of(const InputMoments& got, const std::vector<float>& x, const std::string& what) {
  const auto k = static_cast<size_t>(got.k());
  ASSERT_EQ(static_cast<size_t>(got.rows()) * k, x.size()) << what;
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j) {
      double sum = 0, sizes = 0;
      for (size_t t = 0; t < x.size(); t += k) {
        sum += static_cast<double>(x[t + i]) * x[t + j];
        sizes += std::fabs(static_cast<double>(x[t + i]) * x[t + j]);
      }
      ASSERT_NEAR(got.sums()[i * k + j], sum, 1e-5 * sizes + 1e-12) << what << " " << i << " " << j;
    }
}

// Windows are read each for itself, whatever the number of passes; fused projections are one site.
TEST(Calibration, MomentsOfWhatEachLayerReads) {
  const std::vector<int32_t> ids = {1, 5, 9, 2, 7, 7, 3, 40, 41, 42, 11};
  for (const char* name : {"llama", "phi3", "gemma2"}) {
    const Checkpoint checkpoint = Checkpoint::open(kModels / name);
    Recorder recorder;
    RunnerOptions options;
    options.activation = SPF_F32;
    options.context = 4; // long contexts are another rotation in phi3
    options.observer = &recorder;
    Runner runner(checkpoint, options);
    for (size_t at = 0; at < ids.size(); at += 4) {
      runner.clear(0);
      runner.prefill(0, std::span(ids).subspan(at, std::min<size_t>(4, ids.size() - at)));
    }
    for (const size_t memory : {size_t{1}, size_t{1} << 30}) {
      std::vector<int64_t> passes;
      CalibrationOptions how;
      how.window = 4;
      how.memory = memory;
      how.progress = [&](int64_t done, int64_t all, int64_t pass, int64_t of) {
        EXPECT_EQ(all, 11);
        EXPECT_EQ(of, memory == 1 ? 2 : 1);
        if (done == 0) passes.push_back(pass);
      };
      Calibration calibration(checkpoint, ids, how);
      for (size_t i = 0; i < checkpoint.layers().size(); ++i) {
        const DecoderLayer& layer = checkpoint.layers()[i];
        const LayerMoments got = calibration.layer(i);
        for (const auto& [moments, site] :
             {std::pair(got.qkv, &layer.qkv.front()), std::pair(got.o, &layer.o),
              std::pair(got.gate_up, &layer.gate_up.front()), std::pair(got.down, &layer.down)})
          expect_moments_of(*moments, recorder.rows.at(site->name), site->name);
      }
      EXPECT_EQ(passes, memory == 1 ? (std::vector<int64_t>{0, 1}) : std::vector<int64_t>{0});
    }
  }
}

TEST(Calibration, RefusesByName) {
  const Checkpoint checkpoint = Checkpoint::open(kModels / "llama");
  EXPECT_EQ(refusal([&] { Calibration(checkpoint, {}, {}); }).field(), "calibration text");
  CalibrationOptions how;
  how.window = 0;
  EXPECT_EQ(refusal([&] { Calibration(checkpoint, {1}, how); }).field(), "window");
  how.window = 1 << 20;
  EXPECT_EQ(refusal([&] { Calibration(checkpoint, {1}, how); }).field(), "window");
  how.window = 4;
  const Error e = refusal([&] { Calibration(checkpoint, {1, 100000}, how).layer(0); });
  EXPECT_EQ(e.status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(e.field(), "token id");
}

// The bound on a real model, with less text than the recorded numbers have so that this takes seconds.
TEST(Calibration, TheSampleModelLosesLittle) {
  const Checkpoint source = Checkpoint::open(kSample);
  const auto tokenizer = byte_tokenizer(0);
  const std::string held_out = slurp(kSample / "held_out.txt").substr(0, 4096);
  const auto quality = [&](const Checkpoint& model) {
    RunnerOptions options;
    options.activation = SPF_F32;
    Runner runner(model, options);
    return perplexity(runner, *tokenizer, held_out, 1024).bits_per_byte;
  };
  const double plain = quality(source);
  CalibrationOptions how;
  Calibration calibration(source, tokenizer->encode(slurp(kSample / "calibration.txt").substr(0, 4096)), how);
  for (const auto& [format, bound] : {std::pair("int4-g128", 0.015), std::pair("fp8", 0.003)}) {
    const Scratch dir;
    QuantizeOptions options;
    options.format = format;
    const double nearest = [&] {
      quantize_checkpoint(source, kSample, dir / "nearest", options);
      return quality(Checkpoint::open(dir / "nearest"));
    }();
    options.moments = [&](size_t layer) { return calibration.layer(layer); };
    options.scale_inputs = false; // two runs of GPTQ, not thirty
    quantize_checkpoint(source, kSample, dir / "calibrated", options);
    const double calibrated = quality(Checkpoint::open(dir / "calibrated"));
    std::printf("%s: plain %.4f, to nearest %+.2f %%, calibrated %+.2f %%\n", format, plain,
                100 * (nearest / plain - 1), 100 * (calibrated / plain - 1));
    EXPECT_LT(calibrated / plain - 1, bound) << format;
    if (format == std::string("int4-g128")) {
      EXPECT_LT(calibrated - plain, 0.7 * (nearest - plain));
    }
  }
}

} // namespace
} // namespace model_test

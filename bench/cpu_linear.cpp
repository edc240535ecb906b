// Times linear on this CPU: weight formats x numbers of rows, each beside the limits of this machine, measured in the
// same run. Prints a table and, with --out FILE, writes the rows as docs/measurements/ keeps them.
//
//   cpu_linear [--n 4096] [--k 14336] [--threads T] [--formats a,b] [--rows 1,8,512] [--all-kernels] [--out FILE]
//
// limit_us is the larger of the time to stream the packed weight from memory and the time to multiply at the arithmetic
// peak of the kernel's kind. Times are medians of runs that fill 0.4 s, at least 3.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <omp.h>

#include "build_info.hpp"
#include "check/probe/cpu.hpp"
#include "spearfish/ops/linear.h"

namespace {

struct Options {
  int64_t n = 4096, k = 14336;
  int threads = 0;
  std::vector<std::string> formats = {"int4-g128", "q4_0", "q4_k", "q8_0", "int8", "fp8", "nvfp4", "mxfp4", "bf16"};
  std::vector<int64_t> rows = {1, 8, 512};
  bool all_kernels = false;
  std::string out;
};

struct Row {
  std::string format, kernel, activation;
  int64_t m;
  bool allow_8bit;
  double us, limit_us, gbps, gflops;
};

[[noreturn]] void fail(const std::string& what) {
  spf_error_detail d = {};
  d.struct_size = sizeof d;
  spf_last_error(&d);
  std::fprintf(stderr, "cpu_linear: %s: %s\n", what.c_str(), d.message);
  std::exit(1);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  std::stringstream in(text);
  for (std::string word; std::getline(in, word, ',');) out.push_back(word);
  return out;
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--all-kernels") {
      o.all_kernels = true;
      continue;
    }
    if (i + 1 == argc) {
      std::fprintf(stderr, "cpu_linear: %s needs a value\n", flag.c_str());
      std::exit(2);
    }
    const std::string value = argv[++i];
    if (flag == "--n")
      o.n = std::stoll(value);
    else if (flag == "--k")
      o.k = std::stoll(value);
    else if (flag == "--threads")
      o.threads = std::stoi(value);
    else if (flag == "--formats")
      o.formats = split(value);
    else if (flag == "--out")
      o.out = value;
    else if (flag == "--rows") {
      o.rows.clear();
      for (const std::string& m : split(value)) o.rows.push_back(std::stoll(m));
    } else {
      std::fprintf(stderr, "cpu_linear: unknown option %s\n", flag.c_str());
      std::exit(2);
    }
  }
  return o;
}

// 256-byte aligned memory.
struct Memory {
  explicit Memory(size_t bytes) : data(std::aligned_alloc(256, (bytes / 256 + 1) * 256)) {
    if (data == nullptr) fail("no memory");
    std::memset(data, 0, bytes);
  }
  Memory(const Memory&) = delete;
  ~Memory() { std::free(data); }
  void* data;
};

spf_tensor matrix(void* data, spf_scalar_type type, int64_t rows, int64_t columns) {
  spf_tensor t;
  const int64_t shape[] = {rows, columns};
  if (spf_tensor_init(&t, data, type, 2, shape, {SPF_CPU, 0}) != SPF_OK) fail("tensor");
  return t;
}

class Bench {
 public:
  explicit Bench(const Options& o) : options_(o) {
    facts_.struct_size = sizeof facts_;
    if (spf_device_probe({SPF_CPU, 0}, &facts_) != SPF_OK) fail("probe");
    threads_ = o.threads > 0 ? o.threads : spf_cpu_threads();
    if (spf_cpu_set_threads(threads_) != SPF_OK) fail("threads");
    memory_rate_ = spf::check::measure_read_bandwidth(size_t{1} << 30, threads_);
    limits_ = spf::check::measure_compute(facts_.cpu_features, threads_);
    std::printf("%s, %d threads; memory %.1f GB/s", facts_.name, threads_, memory_rate_ * 1e-9);
    for (const auto& limit : limits_) std::printf("; %s %.0f GOP/s", limit.name.c_str(), limit.per_second * 1e-9);
    std::printf("\n%-12s %5s %-22s %-10s %12s %9s %9s %12s %6s\n", "weight", "m", "kernel", "activation", "us", "GB/s",
                "GFLOP/s", "limit us", "share");
  }

  void run() {
    for (const std::string& format : options_.formats) {
      prepare(format);
      for (const int64_t m : options_.rows) measure(format, m);
    }
    if (!options_.out.empty()) write();
  }

 private:
  void prepare(const std::string& format) {
    spf_quant_scheme scheme = {};
    scheme.struct_size = sizeof scheme;
    if (spf_quant_scheme_by_name(format.c_str(), &scheme) != SPF_OK) fail(format);
    std::mt19937 random(1);
    std::vector<float> dense(static_cast<size_t>(options_.n * options_.k));
    for (size_t i = 0; i < dense.size(); ++i)
      dense[i] = i < 65536 ? static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 1e-4f : dense[i - 65536];
    size_t bytes = 0;
    if (spf_quantize_size(&scheme, options_.n, options_.k, &bytes) != SPF_OK) fail(format);
    Memory memory(bytes);
    spf_quantized_weight quantized = {};
    quantized.struct_size = sizeof quantized;
    if (spf_quantize(&scheme, options_.n, options_.k, dense.data(), memory.data, bytes, &quantized) != SPF_OK)
      fail(format);
    if (spf_pack_size(&scheme, "cpu_n16", options_.n, options_.k, &packed_bytes_) != SPF_OK) fail(format);
    packed_memory_ = std::make_unique<Memory>(packed_bytes_);
    packed_ = {};
    packed_.struct_size = sizeof packed_;
    if (spf_pack(&quantized, "cpu_n16", packed_memory_->data, packed_bytes_, &packed_) != SPF_OK) fail(format);
  }

  void measure(const std::string& format, int64_t m) {
    std::vector<uint16_t> x(static_cast<size_t>(m * options_.k)), out(static_cast<size_t>(m * options_.n));
    std::mt19937 random(2);
    for (uint16_t& v : x) v = static_cast<uint16_t>((random() & 0x8000u) | (0x3f00u + (random() & 0xffu)));
    const spf_tensor xt = matrix(x.data(), SPF_BF16, m, options_.k), ot = matrix(out.data(), SPF_BF16, m, options_.n);
    if (!options_.all_kernels) {
      time_call(format, m, xt, ot, nullptr, false);
      time_call(format, m, xt, ot, nullptr, true);
      return;
    }
    spf_kernel_info info = {};
    info.struct_size = sizeof info;
    for (int i = 0; spf_op_kernel("linear", i, &info) == SPF_OK; ++i)
      if (std::strcmp(info.name, "linear/reference") != 0 && std::strcmp(info.name, "reference") != 0)
        time_call(format, m, xt, ot, info.name, true);
  }

  void time_call(const std::string& format, int64_t m, const spf_tensor& x, const spf_tensor& out, const char* require,
                 bool allow_8bit) {
    spf_plan_options options = {};
    options.struct_size = sizeof options;
    options.require_kernel = require;
    options.allow_activation_8bit = allow_8bit;
    spf_launch launch;
    spf_launch_init(&launch, {SPF_CPU, 0});
    launch.options = &options;
    launch.flags = SPF_LAUNCH_PLAN_ONLY;
    spf_plan* plan = nullptr;
    launch.plan = &plan;
    const spf_status planned = spf_linear(&x, &packed_, nullptr, &out, &launch);
    if (planned != SPF_OK) {
      spf_plan_free(plan);
      if (require != nullptr) return; // another CPU's kernel, or another format's
      fail("plan");
    }
    spf_plan_info info = {};
    info.struct_size = sizeof info;
    spf_plan_describe(plan, &info);
    Row row{format, info.kernel, info.activation, m, allow_8bit, 0, 0, 0, 0};
    const Memory workspace(info.workspace_bytes);
    launch.plan = nullptr;
    launch.flags = 0;
    launch.workspace = workspace.data;
    launch.workspace_bytes = info.workspace_bytes;
    spf_plan_free(plan);
    std::vector<double> seconds;
    double total = 0;
    for (int i = 0; i < 4 || (total < 0.4 && i < 2000); ++i) {
      const auto start = std::chrono::steady_clock::now();
      if (spf_linear(&x, &packed_, nullptr, &out, &launch) != SPF_OK) fail(row.kernel);
      const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (i > 0) seconds.push_back(s); // the first call warms
      total += s;
      if (total > 5 && i > 1) break;
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    const double flops =
        2.0 * static_cast<double>(m) * static_cast<double>(options_.n) * static_cast<double>(options_.k);
    row.us = median * 1e6;
    row.limit_us = std::max(static_cast<double>(packed_bytes_) / memory_rate_, flops / peak(row.kernel)) * 1e6;
    row.gbps = static_cast<double>(packed_bytes_) / median * 1e-9;
    row.gflops = flops / median * 1e-9;
    rows_.push_back(row);
    std::printf("%-12s %5lld %-22s %-10s %12.1f %9.1f %9.1f %12.1f %5.0f%%\n", format.c_str(),
                static_cast<long long>(m), row.kernel.c_str(), row.activation.c_str(), row.us, row.gbps, row.gflops,
                row.limit_us, 100 * row.limit_us / row.us);
    std::fflush(stdout);
  }

  // The fastest unit that the kernel's arithmetic could use.
  double peak(const std::string& kernel) const {
    const bool amx = kernel.find("amx") != std::string::npos, bf16 = kernel.find("bf16") != std::string::npos;
    const bool s16 = kernel.find("s16") != std::string::npos, s8 = kernel.find("s8") != std::string::npos;
    double best = limits_[0].per_second;
    for (const auto& limit : limits_) {
      const bool limit_amx = limit.name.find("amx") != std::string::npos;
      const bool kind = bf16 ? limit.name.find("bf16") == 0 : s8 || s16 ? limit.name.find("s8") == 0 : false;
      if (kind && limit_amx == amx)
        best = std::max(limits_[0].per_second, s16 ? limit.per_second / 2 : limit.per_second);
    }
    return best;
  }

  void write() const {
    char date[32];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
    std::ofstream f(options_.out);
    f << "{\n \"device\": \"" << facts_.name << ", " << threads_
      << " threads\",\n \"driver\": \"\",\n \"toolkit\": \"\",\n"
      << " \"commit\": \"" << SPF_COMMIT << "\",\n \"command\": \"cpu_linear --n " << options_.n << " --k "
      << options_.k << (options_.all_kernels ? " --all-kernels" : "") << "\",\n \"date\": \"" << date
      << "\",\n \"probes\": {\"memory_gbps\": " << memory_rate_ * 1e-9;
    for (const auto& limit : limits_) f << ", \"" << limit.name << " gops\": " << limit.per_second * 1e-9;
    f << "},\n \"rows\": [";
    const char* comma = "\n";
    for (const Row& r : rows_) {
      f << comma << "  {\"op\": \"linear\", \"case\": \""
        << (r.allow_8bit ? "8-bit activations allowed" : "16-bit activations") << "\", \"weight\": \"" << r.format
        << "\", \"act\": \"bf16\", \"activation\": \"" << r.activation << "\", \"m\": " << r.m
        << ", \"n\": " << options_.n << ", \"k\": " << options_.k << ", \"kernel\": \"" << r.kernel
        << "\", \"instance\": \"\", \"us\": " << r.us << ", \"limit_us\": " << r.limit_us
        << ", \"gflops\": " << r.gflops << ", \"gbps\": " << r.gbps << ", \"peers\": {}}";
      comma = ",\n";
    }
    f << "\n ]\n}\n";
  }

  Options options_;
  spf_device_facts facts_ = {};
  int threads_;
  double memory_rate_;
  std::vector<spf::check::ComputeLimit> limits_;
  std::unique_ptr<Memory> packed_memory_;
  size_t packed_bytes_ = 0;
  spf_packed_weight packed_ = {};
  std::vector<Row> rows_;
};

} // namespace

int main(int argc, char** argv) {
  Bench(parse(argc, argv)).run();
  return 0;
}

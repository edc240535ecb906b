#include "problem.hpp"

#include <cmath>

#include "amx_emulated.hpp"
#include "core/scalar.hpp"
#include "ops/validate.hpp"
#include "runtime/runtime.hpp"

namespace linear_test {
namespace {

const spf::OpSchema& linear_op() {
  for (const spf::OpSchema& op : spf::kManifest.ops)
    if (std::string(op.name) == "linear") return op;
  throw std::runtime_error("no op linear");
}

bool has(uint32_t features) { return (spf::runtime::cpu_facts().cpu_features & features) == features; }

bool runs_here(const spf::KernelRow& row) {
  const struct {
    const char* name;
    uint32_t bit;
  } features[] = {{"avx2", SPF_CPU_AVX2},
                  {"avx512", SPF_CPU_AVX512},
                  {"avx512_vnni", SPF_CPU_AVX512_VNNI},
                  {"avx512_bf16", SPF_CPU_AVX512_BF16},
                  {"amx_int8", SPF_CPU_AMX_INT8},
                  {"amx_bf16", SPF_CPU_AMX_BF16}};
  for (const char* need : row.needs)
    for (const auto& feature : features)
      if (std::string(need) == feature.name && !has(feature.bit)) return false;
  return true;
}

spf::LaunchFn emulated(const std::string& name) {
  if (!has(SPF_CPU_AVX512_VNNI | SPF_CPU_AVX512_BF16)) return nullptr;
  if (name == "amx_s8") return spf::linear::emulated_amx_s8;
  if (name == "amx_s16") return spf::linear::emulated_amx_s16;
  if (name == "amx_bf16") return spf::linear::emulated_amx_bf16;
  return nullptr;
}

} // namespace

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> list = [] {
    std::vector<Kernel> out;
    for (const spf::KernelRow& row : spf::kManifest.kernels) {
      if (std::string(row.op) != "linear" || row.device != SPF_CPU) continue;
      const spf::LaunchFn launch = runs_here(row) ? row.instances[0].launch : emulated(row.name);
      if (launch == nullptr) continue;
      out.push_back({row.name, row.policy, launch, row.layouts[0], row.activation});
    }
    return out;
  }();
  return list;
}

const Kernel& kernel(const std::string& name) {
  for (const Kernel& k : kernels())
    if (k.name == name) return k;
  throw std::runtime_error("no kernel " + name + " on this machine");
}

constexpr uint8_t kPoison = 0xff; // NaN in every floating-point type

Matrix::Matrix(spf_scalar_type t, int64_t r, int64_t c, int64_t gap)
    : type(t),
      rows(r),
      columns(c),
      pitch(c + gap),
      bytes_(static_cast<size_t>(r * (c + gap) * (t == SPF_F32 ? 4 : 2)), kPoison) {}

Matrix Matrix::normal(spf_scalar_type type, int64_t rows, int64_t columns, unsigned seed, int64_t gap) {
  Matrix m(type, rows, columns, gap);
  std::mt19937 random(seed);
  std::normal_distribution<float> value;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) m.set(r, c, value(random));
  return m;
}

float Matrix::at(int64_t row, int64_t column) const {
  uint32_t code = 0;
  std::memcpy(&code, bytes_.data() + (row * pitch + column) * size(), static_cast<size_t>(size()));
  return static_cast<float>(spf::decode(type, code));
}

void Matrix::set(int64_t row, int64_t column, float value) {
  const auto code = static_cast<uint32_t>(spf::encode(type, value));
  std::memcpy(bytes_.data() + (row * pitch + column) * size(), &code, static_cast<size_t>(size()));
}

spf_tensor Matrix::view() const {
  spf_tensor t;
  const int64_t shape[] = {rows, columns};
  EXPECT_EQ(spf_tensor_init(&t, const_cast<uint8_t*>(bytes_.data()), type, 2, shape, {SPF_CPU, 0}), SPF_OK);
  t.stride[0] = pitch;
  return t;
}

spf_tensor Matrix::vector() const {
  spf_tensor t;
  EXPECT_EQ(spf_tensor_init(&t, const_cast<uint8_t*>(bytes_.data()), type, 1, &columns, {SPF_CPU, 0}), SPF_OK);
  return t;
}

std::vector<uint8_t> Matrix::elements() const {
  std::vector<uint8_t> out;
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = bytes_.begin() + static_cast<std::ptrdiff_t>(r * pitch * size());
    out.insert(out.end(), row, row + static_cast<std::ptrdiff_t>(columns * size()));
  }
  return out;
}

bool Matrix::gaps_untouched() const {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = columns * size(); i < pitch * size(); ++i)
      if (bytes_[static_cast<size_t>(r * pitch * size() + i)] != kPoison) return false;
  return true;
}

Weight::Weight(const spf_quant_scheme& s, int64_t n_, int64_t k_, unsigned seed)
    : scheme(s),
      n(n_),
      k(k_),
      owned_(support::quantized(s, n_, k_, support::random_matrix(n_, k_, seed))),
      values_(support::dequantized(owned_.weight)) {
  for (int64_t row = 0; row < n; ++row) {
    double squares = 0;
    for (int64_t column = 0; column < k; ++column) squares += static_cast<double>(at(row, column)) * at(row, column);
    norms_.push_back(std::sqrt(squares));
  }
}

const spf_packed_weight& Weight::packed(const std::string& layout) {
  for (const support::PackedWeight& p : packed_)
    if (layout == p.header.layout) return p.header;
  packed_.push_back(support::packed(owned_.weight, layout.c_str()));
  return packed_.back().header;
}

std::string run(const Kernel& kernel, Weight& weight, const Matrix& x, const Matrix* bias, Matrix& out, int threads) {
  const spf_tensor x_view = x.view(), out_view = out.view(), bias_view = bias ? bias->vector() : spf_tensor{};
  const spf_tensor* operands[] = {&x_view, bias ? &bias_view : nullptr, &out_view};
  spf::ops::RawCall raw;
  raw.operands = operands;
  raw.weight = &weight.packed(kernel.layout);
  raw.device = {SPF_CPU, 0};
  spf::Call call;
  EXPECT_EQ(spf::ops::validate(linear_op(), raw, &call), SPF_OK) << support::last_error_field();
  call.problem.allow_activation_8bit = true;
  SCOPED_TRACE(kernel.name);
  return run_guarded(call, kernel.policy, kernel.launch, threads);
}

std::string run_guarded(const spf::Call& call, spf::PolicyFn policy, spf::LaunchFn launch, int threads) {
  spf_device_facts facts = spf::runtime::cpu_facts();
  facts.sm_count = threads;
  spf::InstanceRow instance = {};
  instance.name = "";
  instance.launch = launch;
  const spf::PolicyResult choice = policy(call.problem, facts, {&instance, 1});
  if (!choice.accepted) return choice.reason;
  constexpr size_t kGuard = 512;
  support::AlignedBytes workspace(choice.workspace_bytes + kGuard, kPoison);
  spf::LaunchContext context;
  context.facts = &facts;
  context.workspace = workspace.data();
  context.workspace_bytes = choice.workspace_bytes;
  context.threads = threads;
  EXPECT_EQ(launch(call, context), SPF_OK);
  for (size_t i = 0; i < kGuard; ++i) {
    if (workspace.data()[choice.workspace_bytes + i] == kPoison) continue;
    ADD_FAILURE() << "wrote past the workspace";
    break;
  }
  return "";
}

double activation_error(const Kernel& kernel, spf_scalar_type x) {
  switch (kernel.activation) {
    case spf::Activation::kQuantizedS8:
      return 1.0 / 254;
    case spf::Activation::kFixedS16:
      return 1.0 / 65278;
    case spf::Activation::kSplitBf16:
      return x == SPF_F32 ? 0x1p-17 : 0;
    default:
      return 0;
  }
}

double expect_close(const Kernel& kernel, const Weight& weight, const Matrix& x, const Matrix* bias, const Matrix& out,
                    const std::string& what) {
  const double depth = static_cast<double>(weight.k);
  // Errors of columns are independent, so six standard deviations. fp32 sums add a rounding a term.
  const double activation = activation_error(kernel, x.type) * 6 / std::sqrt(3.0);
  const double sums = (depth / 2 + 8 * std::sqrt(depth) + 16) * 0x1p-24;
  const double rounding = out.type == SPF_F32 ? 0x1p-23 : out.type == SPF_F16 ? 0x1p-10 : 0x1p-7;
  double worst = 0;
  std::vector<double> row(static_cast<size_t>(x.columns));
  for (int64_t m = 0; m < x.rows; ++m) {
    double largest = 0;
    for (int64_t k = 0; k < x.columns; ++k) {
      row[static_cast<size_t>(k)] = x.at(m, k);
      largest = std::max(largest, std::abs(row[static_cast<size_t>(k)]));
    }
    for (int64_t n = 0; n < weight.n; ++n) {
      double want = bias ? bias->at(0, n) : 0;
      for (int64_t k = 0; k < x.columns; ++k)
        want += row[static_cast<size_t>(k)] * static_cast<double>(weight.at(n, k));
      const double got = out.at(m, n);
      const double bound = largest * weight.norm(n) * (activation + sums) + rounding * std::abs(want) + 0x1p-24;
      const double ratio = std::abs(got - want) / bound;
      worst = std::max(worst, ratio);
      if (ratio <= 1) continue;
      ADD_FAILURE() << kernel.name << " " << what << ": out[" << m << ", " << n << "] = " << got << ", exactly " << want
                    << ", bound " << bound;
      return ratio;
    }
  }
  return worst;
}

spf_quant_scheme scheme_named(const std::string& name) {
  for (const support::NamedScheme& s : support::all_schemes())
    if (s.name == name) return s.scheme;
  throw std::runtime_error("no scheme " + name);
}

} // namespace linear_test

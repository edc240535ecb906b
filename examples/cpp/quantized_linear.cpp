// A linear layer with int4 weights: quantize, ask which kernel would run and which layout it reads, pack once,
// multiply.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "spearfish/spearfish.hpp"

namespace sf = spearfish;

int main() try {
  constexpr int64_t m = 3, n = 200, k = 1000; // any shape: packing pads
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> w(n * k), x(m * k), y(m * n);
  for (float& value : w) value = normal(random);
  for (float& value : x) value = normal(random);

  // What a checkpoint would hold. Codes, scales and zero points could just as well be borrowed views of a file.
  const auto weight = sf::QuantizedWeight::quantize(sf::quant_scheme("int4-g128"), n, k, w.data());
  const sf::Tensor in(x.data(), SPF_F32, {m, k}), out(y.data(), SPF_F32, {m, n});

  // Who would run this, what does it read, how much scratch memory does it want?
  const sf::Plan plan = sf::plan_linear(in, weight.scheme(), n, k, std::nullopt, out);
  const auto packed = sf::PackedWeight::pack(weight, plan.layout());
  const sf::Buffer workspace(plan.workspace_bytes());

  sf::Plan ran;
  sf::linear(in, packed, std::nullopt, out, sf::Launch().workspace(workspace.data(), workspace.size()).explain(ran));
  std::printf("linear ran as %s on layout %s, %zu bytes for %lld weights\n", ran.kernel().c_str(),
              packed.layout().c_str(), packed.bytes(), static_cast<long long>(n * k));
  for (const sf::Plan::Rejection& r : ran.rejected()) std::printf("  not %s: %s\n", r.kernel.c_str(), r.reason.c_str());

  // The weight's exact values are the oracle.
  const std::vector<float> exact = weight.dequantize();
  double error = 0, norm = 0;
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(x[row * k + i]) * exact[column * k + i];
      error += (y[row * n + column] - sum) * (y[row * n + column] - sum);
      norm += sum * sum;
    }
  }
  const double relative = std::sqrt(error / norm);
  std::printf("relative error against doubles: %.1e\n", relative);

  // Demands that cannot be met are errors that say so, never another kernel.
  try {
    sf::linear(in, packed, std::nullopt, out, sf::Launch().require("no_such_kernel"));
    return 1;
  } catch (const sf::Error& e) {
    std::printf("a demand that nothing meets: %s\n", e.what());
  }
  return relative < 1e-2 ? 0 : 1;
} catch (const sf::Error& e) {
  std::fprintf(stderr, "%s: %s\n", e.status_name(), e.what());
  return 1;
}

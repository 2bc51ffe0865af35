// Every variant of the network's operations that this processor runs, against float64 arithmetic
// within stated bounds, and against itself: a row's bits must not depend on the rows beside it.
// Prints "N passed, N failed".
#include "../../native/kernels/network_ops.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

using namespace stockpot;

namespace {

std::mt19937 engine(20221123);
int passed = 0, failed = 0;

void expect(bool ok, const std::string& what) {
  ok ? ++passed : ++failed;
  if (!ok) std::printf("FAILED %s\n", what.c_str());
}

std::vector<float> random_floats(size_t n, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> v(n);
  for (float& x : v) x = normal(engine);
  return v;
}

double activate(Activation a, double x) {
  switch (a) {
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}

// A product of m rows with everything in its epilogue; bound: 4 ulp of the sum of magnitudes.
void gemm(const NetworkOps& ops, size_t m, size_t n, size_t k, Activation activation) {
  const auto a = random_floats(m * k), b = random_floats(n * k, 0.2f), bias = random_floats(n),
             scale = random_floats(n), multiply = random_floats(m * n),
             residual = random_floats(m * n);
  std::vector<float> packed(packed_size(n, k, ops.panel)), other(packed.size()), transposed(n * k),
      c(m * n, NAN);
  pack_rows(b.data(), k, n, k, ops.panel, packed.data());
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < k; ++j) transposed[j * n + i] = b[i * k + j];
  }
  pack_columns(transposed.data(), n, n, k, ops.panel, other.data());
  const std::string name = std::string(ops.name) + " gemm " + std::to_string(m) + "x" +
                           std::to_string(n) + "x" + std::to_string(k) + " activation " +
                           std::to_string(static_cast<int>(activation));
  expect(packed == other, name + ": the two ways of packing agree");
  const size_t panels = (n + ops.panel - 1) / ops.panel;
  Gemm g{
      a.data(), k, packed.data(),
      m,        n, k,
      c.data(), n, {bias.data(), activation, scale.data(), multiply.data(), n, residual.data(), n}};
  ops.gemm(g, 0, panels);
  double worst = 0;
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double sum = bias[j], magnitude = std::fabs(bias[j]);
      for (size_t l = 0; l < k; ++l) {
        const double p = static_cast<double>(a[i * k + l]) * b[j * k + l];
        sum += p;
        magnitude += std::fabs(p);
      }
      const double factor = static_cast<double>(scale[j]) * multiply[i * n + j];
      const double want = activate(activation, sum) * factor + residual[i * n + j];
      const double bound = (magnitude * std::fabs(factor) * 1.2 + std::fabs(want) +
                            std::fabs(residual[i * n + j]) + 1e-3) *
                           4 * 1.2e-7;
      worst = std::max(worst, std::fabs(c[i * n + j] - want) / bound);
    }
  }
  expect(worst <= 1, name + ": worst error / bound = " + std::to_string(worst));
  // Each row alone, and panels one by one, give the same bits.
  std::vector<float> alone(n);
  bool same = true;
  for (size_t i = 0; i < m; ++i) {
    Gemm one = g;
    one.a += i * k;
    one.m = 1;
    one.c = alone.data();
    one.epilogue.multiply += i * n;
    one.epilogue.residual += i * n;
    for (size_t p = 0; p < panels; ++p) ops.gemm(one, p, p + 1);
    same = same && std::memcmp(alone.data(), &c[i * n], n * sizeof(float)) == 0;
  }
  expect(same, name + ": rows do not depend on each other");
}

void norms(const NetworkOps& ops, size_t n) {
  const auto x = random_floats(n, 3), w = random_floats(n), b = random_floats(n);
  std::vector<float> out(n);
  double mean = 0, square = 0, variance = 0;
  for (float v : x) mean += v / static_cast<double>(n);
  for (float v : x) {
    variance += (v - mean) * (v - mean) / static_cast<double>(n);
    square += static_cast<double>(v) * v / static_cast<double>(n);
  }
  ops.layer_norm(x.data(), w.data(), b.data(), 1e-6f, n, out.data());
  double worst = 0;
  for (size_t i = 0; i < n; ++i) {
    worst = std::max(
        worst, std::fabs(out[i] - ((x[i] - mean) / std::sqrt(variance + 1e-6) * w[i] + b[i])));
  }
  expect(worst < 1e-5,
         std::string(ops.name) + " layer_norm " + std::to_string(n) + ": " + std::to_string(worst));
  ops.rms_norm(x.data(), w.data(), 1e-6f, n, out.data());
  worst = 0;
  for (size_t i = 0; i < n; ++i)
    worst = std::max(worst, std::fabs(out[i] - x[i] / std::sqrt(square + 1e-6) * w[i]));
  expect(worst < 1e-5,
         std::string(ops.name) + " rms_norm " + std::to_string(n) + ": " + std::to_string(worst));
}

void softmaxes(const NetworkOps& ops, size_t n) {
  auto x = random_floats(n, 5);
  if (n > 3) x[1] = -INFINITY;
  double largest = -INFINITY, sum = 0;
  for (float v : x) largest = std::max<double>(largest, v);
  for (float v : x) sum += std::exp(v - largest);
  expect(std::fabs(ops.log_sum_exp(x.data(), n) - (largest + std::log(sum))) < 1e-5,
         std::string(ops.name) + " log_sum_exp");
  auto p = x;
  ops.softmax(p.data(), n);
  double worst = 0;
  for (size_t i = 0; i < n; ++i)
    worst = std::max(worst, std::fabs(p[i] - std::exp(x[i] - largest) / sum));
  expect(worst < 5e-7 && (n <= 3 || p[1] == 0),
         std::string(ops.name) + " softmax " + std::to_string(n));
  std::vector<float> hidden(n, -INFINITY);
  ops.softmax(hidden.data(), n);
  expect(std::all_of(hidden.begin(), hidden.end(), [](float v) { return v == 0; }),
         "softmax of nothing");
}

// What is no number stays none, wherever in a row it is and whatever is beside it.
void keeps_nan(const NetworkOps& ops, size_t n) {
  for (const float wrong : {NAN, INFINITY}) {
    for (const float beside : {1.0f, -INFINITY}) {
      if (wrong == INFINITY && n == 1) continue;  // its logarithm is infinite, not unknown
      bool sums = true, shares = true;
      for (size_t at = 0; at < n; ++at) {
        auto x = random_floats(n, 5);
        if (beside < 0) x.assign(n, beside);
        x[at] = wrong;
        sums = sums && !std::isfinite(ops.log_sum_exp(x.data(), n));
        ops.softmax(x.data(), n);
        shares = shares && std::all_of(x.begin(), x.end(), [](float v) { return std::isnan(v); });
      }
      const std::string where = std::to_string(wrong) + " in a row of " + std::to_string(n);
      expect(sums, std::string(ops.name) + " log_sum_exp of " + where);
      expect(shares, std::string(ops.name) + " softmax of " + where);
    }
  }
  const std::vector<float> all(n, NAN);
  auto x = all;
  expect(std::isnan(ops.log_sum_exp(x.data(), n)), "log_sum_exp of NaN");
  ops.softmax(x.data(), n);
  expect(std::all_of(x.begin(), x.end(), [](float v) { return std::isnan(v); }), "softmax of NaN");
}

// The activations over their whole range, through a product with 1.
void activations(const NetworkOps& ops) {
  for (int a = 1; a <= 6; ++a) {
    double worst = 0;
    for (float x = -30; x <= 30; x += 0.00737f) {
      std::vector<float> packed(ops.panel, 1.0f);
      float out = NAN;
      Gemm g{&x, 1, packed.data(), 1, 1, 1, &out, 1, {}};
      g.epilogue.activation = static_cast<Activation>(a);
      ops.gemm(g, 0, 1);
      const double want = activate(g.epilogue.activation, x);
      worst = std::max(worst, std::fabs(out - want) / std::max(1.0, std::fabs(want)));
    }
    expect(worst < 4e-7, std::string(ops.name) + " activation " + std::to_string(a) + ": " +
                             std::to_string(worst));
    std::vector<float> x(ops.panel, NAN), y(ops.panel, 0.0f);
    ops.activate(static_cast<Activation>(a), x.data(), x.size(), y.data());
    expect(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }),
           std::string(ops.name) + " activation " + std::to_string(a) + " of NaN");
  }
}

}  // namespace

int main() {
  for (const char* name : {"avx512", "avx2", "portable"}) {
    const NetworkOps* ops = network_ops(name);
    if (!ops) continue;
    for (int a = 0; a <= 6; ++a) gemm(*ops, 5, 37, 29, static_cast<Activation>(a));
    for (size_t m : {1, 3, 14, 31}) {
      for (size_t n : {1, 16, 33, 96}) gemm(*ops, m, n, 104, Activation::kNone);
    }
    for (size_t n : {1, 7, 16, 48, 104, 769}) {
      norms(*ops, n);
      softmaxes(*ops, n);
    }
    for (size_t n : {1, 7, 16, 48, 104}) keeps_nan(*ops, n);
    activations(*ops);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

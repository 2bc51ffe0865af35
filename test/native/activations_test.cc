// The activations that host and device share, against the C library in float64, over all of
// float32's range. Prints "N passed, N failed".
#include "../../native/kernels/cuda/network/activations.h"

#include <cstdio>
#include <limits>
#include <string>

using namespace stockpot;
using namespace stockpot::cuda;

namespace {

int passed = 0, failed = 0;
void expect(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("FAILED %s\n", what.c_str());
}

struct Plain {
  const char* name;
  double (*value)(double);
  double (*slope)(double);
};

double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double tanh_inner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

template <Activation kActivation>
Plain plain() {
  using A = Activation;
  if constexpr (kActivation == A::kGelu) {
    return {"gelu", [](double x) { return x * 0.5 * std::erfc(-x / std::sqrt(2.0)); },
            [](double x) {
              return 0.5 * std::erfc(-x / std::sqrt(2.0)) +
                     x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
            }};
  } else if constexpr (kActivation == A::kGeluTanh) {
    return {"gelu_tanh", [](double x) { return x * logistic(2 * tanh_inner(x)); },
            [](double x) {
              const double s = logistic(2 * tanh_inner(x)), o = logistic(-2 * tanh_inner(x));
              return s + (o == 0
                              ? 0
                              : x * s * o * 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x));
            }};
  } else if constexpr (kActivation == A::kQuickGelu) {
    return {"quick_gelu", [](double x) { return x * logistic(1.702 * x); },
            [](double x) {
              return logistic(1.702 * x) + 1.702 * x * logistic(1.702 * x) * logistic(-1.702 * x);
            }};
  } else if constexpr (kActivation == A::kRelu) {
    return {"relu", [](double x) { return x > 0 ? x : 0; },
            [](double x) { return x > 0 ? 1.0 : 0; }};
  } else if constexpr (kActivation == A::kTanh) {
    return {"tanh", [](double x) { return std::tanh(x); },
            [](double x) { return 1 - std::tanh(x) * std::tanh(x); }};
  } else if constexpr (kActivation == A::kSilu) {
    return {"silu", [](double x) { return x * logistic(x); },
            [](double x) { return logistic(x) + x * logistic(x) * logistic(-x); }};
  } else {
    return {"none", [](double x) { return x; }, [](double) { return 1.0; }};
  }
}

template <Activation kActivation>
void one() {
  const Plain p = plain<kActivation>();
  const std::string name = p.name;
  double value = 0, near = 0, steep = 0;
  const auto look = [&](float x) {
    const double want = p.value(x), error = std::fabs(activate<kActivation>(x) - want);
    const double large = std::fmax(1, std::fabs(static_cast<double>(x)));
    if constexpr (kActivation == Activation::kTanh) {
      value = std::fmax(value, x == 0 ? error : error / std::fabs(want));
    } else {
      value = std::fmax(value, error / large);
      if (std::fabs(x) < 1 && std::fabs(x) > 1e-30)
        near = std::fmax(near, error / std::fabs(want + (want == 0)));
    }
    steep = std::fmax(steep, std::fabs(slope<kActivation>(x) - p.slope(x)));
  };
  for (float x = 0; x < 20; x += 1.0f / 8192) {
    look(x);
    look(-x);
  }
  for (float x = 1e-38f; x < 1e38f; x *= 1.001f) {
    look(x);
    look(-x);
  }
  expect(value <= 3e-7, name + ": error " + std::to_string(value * 1e7) + "e-7");
  expect(near <= 6e-7, name + ": near 0 " + std::to_string(near * 1e7) + "e-7");
  expect(steep <= 5e-7, name + "': error " + std::to_string(steep * 1e7) + "e-7");
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  expect(std::isnan(activate<kActivation>(NAN)), name + " of NaN");
  if (kActivation != Activation::kNone && kActivation != Activation::kRelu)
    expect(std::isnan(slope<kActivation>(NAN)), name + "' of NaN");
  const float top = activate<kActivation>(kInfinity), bottom = activate<kActivation>(-kInfinity);
  expect(top == (kActivation == Activation::kTanh ? 1 : kInfinity), name + " of infinity");
  const float low = kActivation == Activation::kTanh   ? -1
                    : kActivation == Activation::kNone ? -kInfinity
                                                       : 0;
  expect(std::isnan(bottom) || bottom == low, name + " of -infinity");
}

void exponential() {
  double worst = 0;
  for (float x = -87; x < 88; x += 1.0f / 4096) {
    const double want = std::exp(static_cast<double>(x));
    worst = std::fmax(worst, std::fabs(exp_of(x) - want) / want);
  }
  expect(worst <= 2e-7, "exp: relative error " + std::to_string(worst * 1e7) + "e-7");
  expect(exp_of(-1e30f) == 0 && exp_of(0) == 1, "exp at its ends");
}

}  // namespace

int main() {
  exponential();
  one<Activation::kNone>();
  one<Activation::kGelu>();
  one<Activation::kGeluTanh>();
  one<Activation::kQuickGelu>();
  one<Activation::kRelu>();
  one<Activation::kTanh>();
  one<Activation::kSilu>();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}

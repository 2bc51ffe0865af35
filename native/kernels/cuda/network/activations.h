#pragma once
// A network's activations and their derivatives, for the host and the device alike: nothing but
// IEEE operations and explicit fused multiply-adds, so both give the same bits, on any device.
// The polynomials are minimax fits (iteratively reweighted least squares), rounded to float32.
//
// Errors against float64 are at most (test/native/activations_test.cc looks at all of float32's
// range; found there in brackets):
//   gelu, gelu_tanh, quick_gelu, silu   3e-7 · max(1, |z|)      [1.7e-7]
//     and for |z| < 1                   6e-7 of the value       [5.6e-7 gelu, 2.5e-7 the others]
//   tanh                                3e-7 of the value       [1.5e-7]
//   all derivatives                     5e-7                    [2.2e-7]
// NaN gives NaN (of relu's derivative: 1). At infinity there is the limit, or NaN.
#include <cmath>

#include "../../network_ops.h"
#include "../vectors.h"

namespace stockpot::cuda {

// exp(x), relative error below 2e-7; 0 below -87, exp(88) above 88. Of NaN it gives some number.
STOCKPOT_HD inline float exp_of(float x) {
  const float a = fminf(x, 88.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it leaves the integer in the low bits
  const float shifted = a * 1.44269504f + kRound;
  const float n = shifted - kRound;
  float r = fmaf(a, 1.44269504f, -n);
  r = fmaf(a, 1.92596299e-8f, r);
  float p = 0.00015345810970757157f;
  p = fmaf(p, r, 0.0013399930903688073f);
  p = fmaf(p, r, 0.009618489071726799f);
  p = fmaf(p, r, 0.05550328642129898f);
  p = fmaf(p, r, 0.24022646248340607f);
  p = fmaf(p, r, 0.6931471824645996f);
  p = fmaf(p, r, 1.0f);
  const float y = float_of(bits_of(p) + (bits_of(shifted) << 23));
  return x < -87.0f ? 0.0f : y;
}

// The logistic function at v and at -v; their product is its derivative.
struct Sigmoid {
  float at, opposite;
};
STOCKPOT_HD inline Sigmoid sigmoid(float v) {
  const float e = exp_of(-fabsf(v));
  const float more = 1.0f / (1.0f + e), less = e * more;
  return v < 0.0f ? Sigmoid{less, more} : Sigmoid{more, less};
}

STOCKPOT_HD inline float tanh_of(float x) {
  const float t = fabsf(x), s = x * x;
  float p = -0.006235559470951557f;
  p = fmaf(p, s, 0.021039675921201706f);
  p = fmaf(p, s, -0.053842708468437195f);
  p = fmaf(p, s, 0.13332460820674896f);
  p = fmaf(p, s, -0.3333331048488617f);
  const float small = fmaf(x * s, p, x);
  const float e = exp_of(-2.0f * t);
  const float large = (1.0f - e) / (1.0f + e);
  return t > 0.55f ? (x < 0.0f ? -large : large) : small;
}

// exp(-z²/2), and the normal distribution's upper tail at |z|: that times a polynomial.
struct Normal {
  float bell, tail;
};
STOCKPOT_HD inline Normal normal(float z) {
  const float t = fminf(fabsf(z), 14.0f);  // where both are 0
  const float bell = exp_of(-0.5f * t * t);
  const float u = fminf(t, 6.0f);
  float p = 1.6316897699653055e-06f;
  p = fmaf(p, u, -3.520778045640327e-05f);
  p = fmaf(p, u, 0.00033973841345869005f);
  p = fmaf(p, u, -0.001974627375602722f);
  p = fmaf(p, u, 0.007939389906823635f);
  p = fmaf(p, u, -0.024313928559422493f);
  p = fmaf(p, u, 0.06115488335490227f);
  p = fmaf(p, u, -0.13251379132270813f);
  p = fmaf(p, u, 0.24991679191589355f);
  p = fmaf(p, u, -0.39893651008605957f);
  p = fmaf(p, u, 0.5f);
  return {bell, bell * p};
}

// v such that gelu_tanh(z) = z · sigmoid(v).
STOCKPOT_HD inline float gelu_tanh_inner(float z) {
  return 1.5957691216f * fmaf(0.044715f * z, z * z, z);
}

template <Activation kActivation>
STOCKPOT_HD inline float activate(float z) {
  if constexpr (kActivation == Activation::kGelu) {
    const float t = fminf(fabsf(z), 14.0f);
    return fmaf(-t, normal(z).tail, z < 0.0f ? 0.0f : z);
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    return z * sigmoid(gelu_tanh_inner(z)).at;
  } else if constexpr (kActivation == Activation::kQuickGelu) {
    return z * sigmoid(1.702f * z).at;
  } else if constexpr (kActivation == Activation::kRelu) {
    return z < 0.0f ? 0.0f : z;
  } else if constexpr (kActivation == Activation::kTanh) {
    return tanh_of(z);
  } else if constexpr (kActivation == Activation::kSilu) {
    return z * sigmoid(z).at;
  } else {
    return z;
  }
}

// sigmoid(v) + bend, or 1 or 0 where that has come to its end, so that no 0 · infinity is made.
STOCKPOT_HD inline float slope_of(float z, Sigmoid s, float grows) {
  const float both = s.at * s.opposite;
  const float bend = both == 0.0f ? 0.0f : z * grows * both;
  return z == z ? s.at + bend : z;
}

// activation'(z).
template <Activation kActivation>
STOCKPOT_HD inline float slope(float z) {
  if constexpr (kActivation == Activation::kGelu) {
    const Normal n = normal(z);
    const float below = z < 0.0f ? n.tail : 1.0f - n.tail;
    const float bend = n.bell == 0.0f ? 0.0f : 0.39894228f * z * n.bell;
    return z == z ? below + bend : z;
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    return slope_of(z, sigmoid(gelu_tanh_inner(z)), 1.5957691216f * fmaf(0.134145f * z, z, 1.0f));
  } else if constexpr (kActivation == Activation::kQuickGelu) {
    return slope_of(z, sigmoid(1.702f * z), 1.702f);
  } else if constexpr (kActivation == Activation::kRelu) {
    return z <= 0.0f ? 0.0f : 1.0f;
  } else if constexpr (kActivation == Activation::kTanh) {
    const float t = tanh_of(z);
    return fmaf(-t, t, 1.0f);
  } else if constexpr (kActivation == Activation::kSilu) {
    return slope_of(z, sigmoid(z), 1.0f);
  } else {
    return 1.0f;
  }
}

// Calls f(std::integral_constant<Activation, a>{}).
template <class F>
auto with_activation(Activation a, const F& f) {
  using A = Activation;
  switch (a) {
    case A::kGelu:
      return f(std::integral_constant<A, A::kGelu>{});
    case A::kGeluTanh:
      return f(std::integral_constant<A, A::kGeluTanh>{});
    case A::kQuickGelu:
      return f(std::integral_constant<A, A::kQuickGelu>{});
    case A::kRelu:
      return f(std::integral_constant<A, A::kRelu>{});
    case A::kTanh:
      return f(std::integral_constant<A, A::kTanh>{});
    case A::kSilu:
      return f(std::integral_constant<A, A::kSilu>{});
    default:
      return f(std::integral_constant<A, A::kNone>{});
  }
}

}  // namespace stockpot::cuda

#pragma once
// The backward operations of network_ops.h, written once for every instruction set V, as
// ops_vector.h has the forward ones.
#include "ops_vector.h"

namespace stockpot::vector {

template <class V>
void add(const float* x, size_t n, float* to) {
  size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes)
    V::store(to + i, V::add(V::load(to + i), V::load(x + i)));
  for (; i < n; ++i) to[i] += x[i];
}

// A few columns at a time, so that their sums stay in registers while the rows pass.
template <class V>
void add_rows(const float* x, size_t rows, size_t ld, size_t columns, float* to) {
  size_t j = 0;
  for (; j + 4 * V::kLanes <= columns; j += 4 * V::kLanes) {
    typename V::F sum[4];
    for (size_t v = 0; v < 4; ++v) sum[v] = V::load(to + j + v * V::kLanes);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t v = 0; v < 4; ++v)
        sum[v] = V::add(sum[v], V::load(x + r * ld + j + v * V::kLanes));
    }
    for (size_t v = 0; v < 4; ++v) V::store(to + j + v * V::kLanes, sum[v]);
  }
  for (; j + V::kLanes <= columns; j += V::kLanes) {
    typename V::F sum = V::load(to + j);
    for (size_t r = 0; r < rows; ++r) sum = V::add(sum, V::load(x + r * ld + j));
    V::store(to + j, sum);
  }
  for (; j < columns; ++j) {
    for (size_t r = 0; r < rows; ++r) to[j] += x[r * ld + j];
  }
}

// activation'(z).
template <class V>
typename V::F slope(Activation a, typename V::F z) {
  using F = typename V::F;
  const F one = V::set(1.0f), half = V::set(0.5f);
  switch (a) {
    case Activation::kGelu: {
      // Φ(z) + z·φ(z)
      const F density = V::mul(V::set(0.39894228f),
                               exp<V>(V::mul(V::set(-0.5f), V::min(V::set(174.0f), V::mul(z, z)))));
      const F below = V::mul(half, V::add(one, erf<V>(V::mul(z, V::set(0.70710678f)))));
      return V::fma(z, density, below);
    }
    case Activation::kGeluTanh: {
      const F c = V::set(0.7978845608f), square = V::mul(z, z);
      const F inner = V::mul(V::mul(c, z), V::fma(V::set(0.044715f), square, one));
      const F t = tanh<V>(inner);
      const F grows = V::mul(c, V::fma(V::set(0.134145f), square, one));
      const F bend = V::mul(V::mul(half, z), V::mul(V::sub(one, V::mul(t, t)), grows));
      return V::fma(half, V::add(one, t), bend);
    }
    case Activation::kQuickGelu: {
      const F x = V::mul(V::set(1.702f), z), s = sigmoid<V>(x);
      return V::fma(V::mul(x, s), V::sub(one, s), s);
    }
    case Activation::kRelu:
      return V::zero_below(z, V::set(1e-45f), one);
    case Activation::kTanh: {
      const F t = tanh<V>(z);
      return V::sub(one, V::mul(t, t));
    }
    case Activation::kSilu: {
      const F s = sigmoid<V>(z);
      return V::fma(V::mul(z, s), V::sub(one, s), s);
    }
    default:
      return one;
  }
}

template <class V>
void activate_all(Activation a, const float* z, size_t n, float* out) {
  float room[V::kLanes];
  for (size_t i = 0; i < n; i += V::kLanes) {
    const size_t left = n - i < V::kLanes ? n - i : V::kLanes;
    const typename V::F y = activate<V>(a, V::load(padded(z + i, left, V::kLanes, room)));
    if (left == V::kLanes) {
      V::store(out + i, y);
    } else {
      V::store(room, y);
      for (size_t j = 0; j < left; ++j) out[i + j] = room[j];
    }
  }
}

template <class V>
void activation_gradient(Activation a, const float* z, const float* dy, size_t n, float* dz) {
  float room[2][V::kLanes];
  for (size_t i = 0; i < n; i += V::kLanes) {
    const size_t left = n - i < V::kLanes ? n - i : V::kLanes;
    const typename V::F s = slope<V>(a, V::load(padded(z + i, left, V::kLanes, room[0])));
    const typename V::F y = V::mul(s, V::load(padded(dy + i, left, V::kLanes, room[1])));
    if (left == V::kLanes) {
      V::store(dz + i, y);
    } else {
      V::store(room[0], y);
      for (size_t j = 0; j < left; ++j) dz[i + j] = room[0][j];
    }
  }
}

// The lanes of a sum, added in float64.
template <class V>
double total(typename V::F sum) {
  float lanes[V::kLanes];
  V::store(lanes, sum);
  double all = 0;
  for (float lane : lanes) all += lane;
  return all;
}

// With x̂ = (x - mean)·rstd and g = dy·weight: dx = rstd·(g - mean(g) - x̂·mean(g·x̂)) (Ba et al.
// 2016).
template <class V>
void layer_norm_gradient(const float* x, const float* weight, float epsilon, const float* dy,
                         size_t columns, bool add, float* dx, float* dweight, float* dbias) {
  using F = typename V::F;
  const float n = static_cast<float>(columns);
  const float mean = sum_row<V>(x, columns, Itself<V>{}) / n;
  const float variance = sum_row<V>(x, columns, SquareOfDifference<V>{V::set(mean)}) / n;
  const float rstd = 1.0f / __builtin_sqrtf(variance + epsilon);
  const F m = V::set(mean), r = V::set(rstd);
  F sum = V::set(0.0f), sum_hat = V::set(0.0f);
  size_t i = 0;
  for (; i + V::kLanes <= columns; i += V::kLanes) {
    const F d = V::load(dy + i), g = V::mul(d, V::load(weight + i));
    const F hat = V::mul(V::sub(V::load(x + i), m), r);
    sum = V::add(sum, g);
    sum_hat = V::fma(g, hat, sum_hat);
    V::store(dweight + i, V::fma(d, hat, V::load(dweight + i)));
    V::store(dbias + i, V::add(d, V::load(dbias + i)));
  }
  double all = total<V>(sum), all_hat = total<V>(sum_hat);
  for (size_t j = i; j < columns; ++j) {
    const float g = dy[j] * weight[j], hat = (x[j] - mean) * rstd;
    all += g;
    all_hat += static_cast<double>(g) * hat;
    dweight[j] += dy[j] * hat;
    dbias[j] += dy[j];
  }
  const float a = static_cast<float>(all / n), b = static_cast<float>(all_hat / n);
  const F av = V::set(a), bv = V::set(b);
  for (i = 0; i + V::kLanes <= columns; i += V::kLanes) {
    const F g = V::mul(V::load(dy + i), V::load(weight + i));
    const F hat = V::mul(V::sub(V::load(x + i), m), r);
    F d = V::mul(V::sub(V::sub(g, av), V::mul(hat, bv)), r);
    if (add) d = V::add(d, V::load(dx + i));
    V::store(dx + i, d);
  }
  for (; i < columns; ++i) {
    const float hat = (x[i] - mean) * rstd;
    const float d = (dy[i] * weight[i] - a - hat * b) * rstd;
    dx[i] = add ? d + dx[i] : d;
  }
}

// With x̂ = x·r, r = 1/√(mean(x²) + ε), and g = dy·weight: dx = r·(g - x̂·mean(g·x̂)).
template <class V>
void rms_norm_gradient(const float* x, const float* weight, float epsilon, const float* dy,
                       size_t columns, bool add, float* dx, float* dweight) {
  const float n = static_cast<float>(columns);
  const float square = sum_row<V>(x, columns, SquareOfDifference<V>{V::set(0.0f)}) / n;
  const float r = 1.0f / __builtin_sqrtf(square + epsilon);
  double all_hat = 0;
  for (size_t i = 0; i < columns; ++i) {
    const float hat = x[i] * r;
    all_hat += static_cast<double>(dy[i] * weight[i]) * hat;
    dweight[i] += dy[i] * hat;
  }
  const float b = static_cast<float>(all_hat / n);
  for (size_t i = 0; i < columns; ++i) {
    const float d = (dy[i] * weight[i] - x[i] * r * b) * r;
    dx[i] = add ? d + dx[i] : d;
  }
}

template <class V>
void softmax_gradient(const float* p, size_t columns, float* dp) {
  typename V::F sum = V::set(0.0f);
  size_t i = 0;
  for (; i + V::kLanes <= columns; i += V::kLanes)
    sum = V::fma(V::load(p + i), V::load(dp + i), sum);
  double all = total<V>(sum);
  for (; i < columns; ++i) all += static_cast<double>(p[i]) * dp[i];
  const float mean = static_cast<float>(all);
  const typename V::F m = V::set(mean);
  for (i = 0; i + V::kLanes <= columns; i += V::kLanes)
    V::store(dp + i, V::mul(V::load(p + i), V::sub(V::load(dp + i), m)));
  for (; i < columns; ++i) dp[i] = p[i] * (dp[i] - mean);
}

}  // namespace stockpot::vector

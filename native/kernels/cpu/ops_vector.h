#pragma once
// The operations of network_ops.h, written once for every instruction set V (ops_avx512.cc, …). No
// std:: here, for the reason that mean_vector.h gives.
//
// NaN stays NaN. V::max and V::min give their second operand where one is NaN, so a limit comes
// first.
#include "../network_ops.h"

namespace stockpot::vector {

// exp for x ≤ 88, relative error below 1e-7: 2^n · p(r), p fitted to exp on [-ln 2 / 2, ln 2 / 2].
template <class V>
typename V::F exp(typename V::F x) {
  x = V::max(V::set(-87.3f), x);
  const typename V::F n = V::round(V::mul(x, V::set(1.44269504f)));
  typename V::F r = V::fma(n, V::set(-0.693359375f), x);
  r = V::fma(n, V::set(2.12194440e-4f), r);
  typename V::F p = V::set(0.001395621569827199f);
  p = V::fma(p, r, V::set(0.008375232107937336f));
  p = V::fma(p, r, V::set(0.04166607931256294f));
  p = V::fma(p, r, V::set(0.16666413843631744f));
  p = V::fma(p, r, V::set(0.5f));
  p = V::fma(p, r, V::set(1.0f));
  p = V::fma(p, r, V::set(1.0f));
  return V::times_power_of_two(p, n);
}

// erf, absolute error below 1.5e-7: x·p(x²) below 1, 1 - exp(q(|x|)) above, both fitted.
template <class V>
typename V::F erf(typename V::F x) {
  using F = typename V::F;
  const F s = V::mul(x, x);
  F p = V::set(7.889117841841653e-05f);
  p = V::fma(p, s, V::set(-0.0008020840468816459f));
  p = V::fma(p, s, V::set(0.005189535208046436f));
  p = V::fma(p, s, V::set(-0.026854444295167923f));
  p = V::fma(p, s, V::set(0.11283600330352783f));
  p = V::fma(p, s, V::set(-0.3761262595653534f));
  p = V::fma(p, s, V::set(1.1283791065216064f));
  const F small = V::mul(x, p);
  const F t = V::min(V::set(4.1f), V::abs(x));
  F q = V::set(-2.168688297388144e-05f);
  q = V::fma(q, t, V::set(0.000441336800577119f));
  q = V::fma(q, t, V::set(-0.004204563796520233f));
  q = V::fma(q, t, V::set(0.025208262726664543f));
  q = V::fma(q, t, V::set(-0.10841858386993408f));
  q = V::fma(q, t, V::set(-0.6332198977470398f));
  q = V::fma(q, t, V::set(-1.1295784711837769f));
  q = V::fma(q, t, V::set(0.00018804134742822498f));
  const F large = V::copy_sign(V::sub(V::set(1.0f), exp<V>(q)), x);
  return V::below_one(x, small, large);
}

// 1 / (1 + exp(-x)).
template <class V>
typename V::F sigmoid(typename V::F x) {
  const typename V::F one = V::set(1.0f);
  const typename V::F e = exp<V>(V::min(V::set(88.0f), V::sub(V::set(0.0f), x)));
  return V::div(one, V::add(one, e));
}

// tanh(x) = 2·sigmoid(2x) - 1, by erf's way of keeping small arguments exact: an odd polynomial
// near 0.
template <class V>
typename V::F tanh(typename V::F x) {
  using F = typename V::F;
  const F s = V::mul(x, x);
  // Continued fraction of tanh, exact to float32 below 0.4.
  const F num = V::fma(s, V::add(s, V::set(105.0f)), V::set(945.0f));
  const F den = V::fma(s, V::fma(s, V::set(15.0f), V::set(420.0f)), V::set(945.0f));
  const F small = V::div(V::mul(x, num), den);
  const F large = V::sub(V::mul(V::set(2.0f), sigmoid<V>(V::add(x, x))), V::set(1.0f));
  return V::below_one(V::mul(x, V::set(2.5f)), small, large);
}

template <class V>
typename V::F activate(Activation a, typename V::F x) {
  using F = typename V::F;
  switch (a) {
    case Activation::kGelu:
      return V::mul(V::mul(V::set(0.5f), x),
                    V::add(V::set(1.0f), erf<V>(V::mul(x, V::set(0.70710678f)))));
    case Activation::kGeluTanh: {
      const F inner =
          V::mul(V::set(0.7978845608f), V::fma(V::mul(V::set(0.044715f), x), V::mul(x, x), x));
      return V::mul(V::mul(V::set(0.5f), x), V::add(V::set(1.0f), tanh<V>(inner)));
    }
    case Activation::kQuickGelu:
      return V::mul(x, sigmoid<V>(V::mul(V::set(1.702f), x)));
    case Activation::kRelu:
      return V::max(V::set(0.0f), x);
    case Activation::kTanh:
      return tanh<V>(x);
    case Activation::kSilu:
      return V::mul(x, sigmoid<V>(x));
    default:
      return x;
  }
}

// The last panel's rest is filled so that whole vectors can be read; what is computed there is not
// stored.
inline const float* padded(const float* from, size_t columns, size_t panel, float* room) {
  if (columns == panel) return from;
  for (size_t i = 0; i < panel; ++i) room[i] = i < columns ? from[i] : 0.0f;
  return room;
}

// One row of a tile, `columns` ≤ panel of them, from column `at` of the output.
template <class V>
void finish_row(const Gemm& g, size_t row, size_t at, size_t columns, float* tile) {
  const Epilogue& e = g.epilogue;
  constexpr size_t kPanel = 2 * V::kLanes;
  float room[4][kPanel];
  const float* bias = e.bias ? padded(e.bias + at, columns, kPanel, room[0]) : nullptr;
  const float* scale = e.scale ? padded(e.scale + at, columns, kPanel, room[1]) : nullptr;
  const float* multiply =
      e.multiply ? padded(e.multiply + row * e.ld_multiply + at, columns, kPanel, room[2])
                 : nullptr;
  const float* residual =
      e.residual ? padded(e.residual + row * e.ld_residual + at, columns, kPanel, room[3])
                 : nullptr;
  float before_room[kPanel];
  const bool whole = columns == kPanel;
  float* out = whole ? g.c + row * g.ldc + at : tile;
  float* before = !e.before ? nullptr : whole ? e.before + row * e.ld_before + at : before_room;
  for (size_t i = 0; i < kPanel; i += V::kLanes) {
    typename V::F x = V::load(tile + i);
    if (bias) x = V::add(x, V::load(bias + i));
    if (before) V::store(before + i, x);
    if (e.activation != Activation::kNone) x = activate<V>(e.activation, x);
    if (scale) x = V::mul(x, V::load(scale + i));
    if (multiply) x = V::mul(x, V::load(multiply + i));
    if (residual) x = V::add(x, V::load(residual + i));
    V::store(out + i, x);
  }
  if (!whole) {
    for (size_t i = 0; i < columns; ++i) g.c[row * g.ldc + at + i] = tile[i];
    for (size_t i = 0; before && i < columns; ++i) e.before[row * e.ld_before + at + i] = before[i];
  }
}

inline bool is_empty(const Epilogue& e) {
  return !e.bias && !e.before && e.activation == Activation::kNone && !e.scale && !e.multiply &&
         !e.residual;
}

// Rows [row, row + kRows) of one panel, depth [from, to) of the chain. Between two parts of a chain
// its sums lie in C, which keeps their bits.
template <class V, int kRows, bool kAcross>
void tile(const Gemm& g, size_t row, size_t panel, size_t from, size_t to) {
  constexpr size_t kPanel = 2 * V::kLanes;
  // Element (r, i) of A is a[r * lda + i], or, where its rows lie across, a[i * step + r].
  const bool tiles = g.layout == Layout::kTiles;
  const size_t step = tiles ? V::kRowTile : g.lda;
  const float* a = !kAcross ? g.a + row * g.lda + from
                   : tiles ? g.a + (row - row % V::kRowTile) * g.k + from * step + row % V::kRowTile
                           : g.a + from * step + row;
  const float* b = g.packed + (panel * g.k + from) * kPanel;
  const size_t at = panel * kPanel;
  const size_t columns = g.n - at < kPanel ? g.n - at : kPanel;
  alignas(64) float line[kPanel];
  typename V::F sum[kRows][2];
  if (from > 0 || g.accumulate) {
    for (int r = 0; r < kRows; ++r) {
      const float* c = padded(g.c + (row + r) * g.ldc + at, columns, kPanel, line);
      sum[r][0] = V::load(c);
      sum[r][1] = V::load(c + V::kLanes);
    }
  } else {
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = V::set(0.0f);
  }
  for (size_t i = from; i < to; ++i, b += kPanel) {
    const typename V::F left = V::load(b), right = V::load(b + V::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename V::F x = V::set(kAcross ? a[r] : a[r * g.lda]);
      sum[r][0] = V::fma(x, left, sum[r][0]);
      sum[r][1] = V::fma(x, right, sum[r][1]);
    }
    a += kAcross ? step : 1;
  }
  const bool store = columns == kPanel && (to < g.k || is_empty(g.epilogue));
  for (int r = 0; r < kRows; ++r) {
    if (store) {
      float* c = g.c + (row + r) * g.ldc + at;
      V::store(c, sum[r][0]);
      V::store(c + V::kLanes, sum[r][1]);
      continue;
    }
    V::store(line, sum[r][0]);
    V::store(line + V::kLanes, sum[r][1]);
    if (to == g.k) {
      finish_row<V>(g, row + r, at, columns, line);
    } else {
      for (size_t i = 0; i < columns; ++i) g.c[(row + r) * g.ldc + at + i] = line[i];
    }
  }
}

// Depth that is done for all rows and panels before the next: the part of a panel that stays in the
// first-level cache while all rows pass, and the part of A that stays in the second.
constexpr size_t kDepthBlock = 384;

// Panels before rows, so that one stays in the cache while all rows pass.
template <class V, bool kAcross>
void gemm_layout(const Gemm& g, size_t first_panel, size_t last_panel) {
  constexpr int kRows = V::kRowTile;
  // Parts of equal size; a little more than one block is one part.
  const size_t parts =
      g.k <= kDepthBlock + kDepthBlock / 2 ? 1 : (g.k + kDepthBlock - 1) / kDepthBlock;
  for (size_t part = 0; part < parts; ++part) {
    const size_t from = g.k * part / parts, to = g.k * (part + 1) / parts;
    for (size_t p = first_panel; p < last_panel; ++p) {
      size_t row = 0;
      for (; row + kRows <= g.m; row += kRows) tile<V, kRows, kAcross>(g, row, p, from, to);
      for (; row + 4 <= g.m; row += 4) tile<V, 4, kAcross>(g, row, p, from, to);
      for (; row < g.m; ++row) tile<V, 1, kAcross>(g, row, p, from, to);
    }
  }
}

template <class V>
void gemm(const Gemm& g, size_t first_panel, size_t last_panel) {
  if (g.layout == Layout::kRows) return gemm_layout<V, false>(g, first_panel, last_panel);
  gemm_layout<V, true>(g, first_panel, last_panel);
}

// Sum over a row of f(vector), in double at the end; the rest of the row one by one through a
// vector of zeros.
template <class V, class Fn>
float sum_row(const float* x, size_t columns, const Fn& f) {
  typename V::F total = V::set(0.0f);
  size_t i = 0;
  for (; i + V::kLanes <= columns; i += V::kLanes) total = V::add(total, f(V::load(x + i)));
  float lanes[V::kLanes];
  V::store(lanes, total);
  double sum = 0;
  for (float lane : lanes) sum += lane;
  if (i < columns) {
    float rest[V::kLanes], out[V::kLanes];
    for (size_t j = 0; j < V::kLanes; ++j) rest[j] = i + j < columns ? x[i + j] : 0.0f;
    V::store(out, f(V::load(rest)));
    for (size_t j = 0; i + j < columns; ++j) sum += out[j];
  }
  return static_cast<float>(sum);
}

// Functions for sum_row; no lambdas, since GCC compiles those without the file's instruction set.
template <class V>
struct Itself {
  typename V::F operator()(typename V::F x) const { return x; }
};
template <class V>
struct SquareOfDifference {
  typename V::F from;
  typename V::F operator()(typename V::F x) const {
    const typename V::F d = V::sub(x, from);
    return V::mul(d, d);
  }
};
template <class V>
struct ExpOfDifference {
  typename V::F from;
  typename V::F operator()(typename V::F x) const { return exp<V>(V::sub(x, from)); }
};

template <class V>
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon,
                size_t columns, float* out) {
  const float n = static_cast<float>(columns);
  const float mean = sum_row<V>(x, columns, Itself<V>{}) / n;
  const float variance = sum_row<V>(x, columns, SquareOfDifference<V>{V::set(mean)}) / n;
  const float rstd = 1.0f / __builtin_sqrtf(variance + epsilon);
  for (size_t i = 0; i < columns; ++i) out[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
}

template <class V>
void rms_norm(const float* x, const float* weight, float epsilon, size_t columns, float* out) {
  const float square =
      sum_row<V>(x, columns, SquareOfDifference<V>{V::set(0.0f)}) / static_cast<float>(columns);
  const float scale = 1.0f / __builtin_sqrtf(square + epsilon);
  for (size_t i = 0; i < columns; ++i) out[i] = x[i] * scale * weight[i];
}

// The largest of a row; of NaN and -infinity alone, -infinity.
template <class V>
float max_of(const float* x, size_t columns) {
  float largest = -__builtin_inff();
  size_t i = 0;
  if (columns >= V::kLanes) {
    typename V::F most = V::load(x);
    for (i = V::kLanes; i + V::kLanes <= columns; i += V::kLanes)
      most = V::max(V::load(x + i), most);
    float lanes[V::kLanes];
    V::store(lanes, most);
    for (float lane : lanes) largest = lane > largest ? lane : largest;
  }
  for (; i < columns; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// Of a row of which that is the largest: -infinity, or NaN where it has one.
inline float sum_of_nothing(const float* x, size_t columns) {
  float sum = -__builtin_inff();
  for (size_t i = 0; i < columns; ++i) sum += x[i];
  return sum;
}

// exp(x - m), 0 far below.
template <class V>
typename V::F exp_below(typename V::F x, typename V::F m) {
  const typename V::F d = V::sub(x, m);
  return V::zero_below(d, V::set(-87.0f), exp<V>(d));
}

template <class V>
void softmax(float* x, size_t columns) {
  const float largest = max_of<V>(x, columns);
  if (largest == -__builtin_inff()) {
    const float none = sum_of_nothing(x, columns);
    for (size_t i = 0; i < columns; ++i) x[i] = none == none ? 0.0f : none;
    return;
  }
  const typename V::F m = V::set(largest);
  typename V::F sum = V::set(0.0f);
  size_t i = 0;
  for (; i + V::kLanes <= columns; i += V::kLanes) {
    const typename V::F e = exp_below<V>(V::load(x + i), m);
    V::store(x + i, e);
    sum = V::add(sum, e);
  }
  if (i < columns) {
    // What is missing counts as far below, as masked columns do: zeros at the end change no bit.
    float lanes[V::kLanes];
    for (size_t j = 0; j < V::kLanes; ++j)
      lanes[j] = i + j < columns ? x[i + j] : -__builtin_inff();
    const typename V::F e = exp_below<V>(V::load(lanes), m);
    sum = V::add(sum, e);
    V::store(lanes, e);
    for (size_t j = 0; i + j < columns; ++j) x[i + j] = lanes[j];
  }
  double all = 0;
  float sums[V::kLanes];
  V::store(sums, sum);
  for (float lane : sums) all += lane;
  const float scale = static_cast<float>(1.0 / all);
  const typename V::F s = V::set(scale);
  for (i = 0; i + V::kLanes <= columns; i += V::kLanes) V::store(x + i, V::mul(V::load(x + i), s));
  for (; i < columns; ++i) x[i] *= scale;
}

template <class V>
double log_sum_exp(const float* x, size_t columns) {
  const float largest = max_of<V>(x, columns);
  if (largest == -__builtin_inff()) return sum_of_nothing(x, columns);
  const float sum = sum_row<V>(x, columns, ExpOfDifference<V>{V::set(largest)});
  return largest + __builtin_log(static_cast<double>(sum));
}

}  // namespace stockpot::vector

#pragma once
// Inner products on vectors, written once for every instruction set. An instruction set is a type V
// (gram_avx2.cc, …): an L is kGramLanes float64 lanes, which may be several registers. No std::
// and no inline function of other headers here, for the reason that mean_vector.h gives.
#include "../gram.h"

namespace stockpot::vector {

// The values of one input as float64; zeros up to a whole number of lanes.
template <class V, DType T>
void widen_as(const uint8_t* from, size_t n, double* to) {
  size_t e = 0;
  for (; e + kGramLanes <= n; e += kGramLanes)
    V::store(to + e, V::template load<T>(from + e * byte_size(T)));
  if (e < n) plain::widen(T, from + e * byte_size(T), n - e, to + e);
}

template <class V>
void widen(DType t, const uint8_t* from, size_t n, double* to) {
  switch (t) {
    case DType::kF64:
      return widen_as<V, DType::kF64>(from, n, to);
    case DType::kF32:
      return widen_as<V, DType::kF32>(from, n, to);
    case DType::kF16:
      return widen_as<V, DType::kF16>(from, n, to);
    case DType::kBF16:
      return widen_as<V, DType::kBF16>(from, n, to);
    default:
      return plain::widen(t, from, n, to);
  }
}

// Products of rows [i, i + A) with rows [j, j + B), for pairs with i <= j only.
template <class V, uint32_t A, uint32_t B>
void tile(const double* vectors, size_t steps, uint32_t k, uint32_t i, uint32_t j, double* out) {
  typename V::L sums[A][B];
  for (uint32_t a = 0; a < A; ++a)
    for (uint32_t b = 0; b < B; ++b) sums[a][b] = V::zero();
  const double* x = vectors + size_t{i} * kGramBlock;
  const double* y = vectors + size_t{j} * kGramBlock;
  for (size_t s = 0; s < steps; ++s, x += kGramLanes, y += kGramLanes) {
    typename V::L right[B];
    for (uint32_t b = 0; b < B; ++b) right[b] = V::from(y + size_t{b} * kGramBlock);
    for (uint32_t a = 0; a < A; ++a) {
      const typename V::L left = V::from(x + size_t{a} * kGramBlock);
      for (uint32_t b = 0; b < B; ++b) sums[a][b] = V::add(sums[a][b], V::mul(left, right[b]));
    }
  }
  for (uint32_t a = 0; a < A; ++a) {
    // Row r of the upper triangle begins where the rows above it end.
    const size_t r = i + a, begin = r * k - r * (r - 1) / 2 - r;
    for (uint32_t b = 0; b < B; ++b)
      if (j + b >= r) out[begin + j + b] = V::total(sums[a][b]);
  }
}

template <class V, uint32_t A>
void rows(const double* vectors, size_t steps, uint32_t k, uint32_t i, double* out) {
  uint32_t j = i;
  for (; j + V::kTile <= k; j += V::kTile) tile<V, A, V::kTile>(vectors, steps, k, i, j, out);
  for (; j < k; ++j) tile<V, A, 1>(vectors, steps, k, i, j, out);
}

template <class V>
void gram(const GramArgs& a) {
  const size_t steps = (a.n + kGramLanes - 1) / kGramLanes;
  for (uint32_t i = 0; i < a.k; ++i) {
    double* v = a.vectors + size_t{i} * kGramBlock;
    widen<V>(a.dtypes[i], a.inputs[i], a.n, v);
    for (size_t e = a.n; e < steps * kGramLanes; ++e) v[e] = 0;
    if (i == 0) continue;
    for (size_t s = 0; s < steps; ++s)
      V::store(v + s * kGramLanes,
               V::sub(V::from(v + s * kGramLanes), V::from(a.vectors + s * kGramLanes)));
  }
  uint32_t i = 0;
  for (; i + V::kTile <= a.k; i += V::kTile)
    rows<V, V::kTile>(a.vectors, steps, a.k, i, a.products);
  for (; i < a.k; ++i) rows<V, 1>(a.vectors, steps, a.k, i, a.products);
}

}  // namespace stockpot::vector

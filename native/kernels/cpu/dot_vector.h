#pragma once
// The dot product of dot.h on vectors, for the instruction sets V of the mean (mean_avx2.cc, …). No
// inline functions of others, for the reason that mean_vector.h gives.
#include "../dot.h"

namespace stockpot::vector {

template <class V, DType T>
double dot_of(const uint8_t* x, const float* y, size_t n) {
  constexpr size_t kVectors = kDotLanes / V::kLanes;
  static_assert(kVectors * V::kLanes == kDotLanes, "whole vectors");
  typename V::D low[kVectors], high[kVectors];
  for (size_t v = 0; v < kVectors; ++v) low[v] = high[v] = V::set(0.0);
  size_t i = 0;
  for (; i + kDotLanes <= n; i += kDotLanes) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = i + v * V::kLanes;
      const typename V::F a = V::template load<T>(x + at * byte_size(T));
      const typename V::F b =
          V::template load<DType::kF32>(reinterpret_cast<const uint8_t*>(y + at));
      low[v] = V::add(low[v], V::mul(V::low(a), V::low(b)));
      high[v] = V::add(high[v], V::mul(V::high(a), V::high(b)));
    }
  }
  double sums[kDotLanes];
  for (size_t v = 0; v < kVectors; ++v) {
    V::template store<DType::kF64>(reinterpret_cast<uint8_t*>(sums + v * V::kLanes), low[v],
                                   high[v]);
  }
  plain::add_products(T, x + i * byte_size(T), y + i, n - i, sums);
  double sum = 0;
  for (double s : sums) sum += s;
  return sum;
}

template <class V>
double dot(DType type, const uint8_t* x, const float* y, size_t n) {
  switch (type) {
    case DType::kF32:
      return dot_of<V, DType::kF32>(x, y, n);
    case DType::kF16:
      return dot_of<V, DType::kF16>(x, y, n);
    case DType::kBF16:
      return dot_of<V, DType::kBF16>(x, y, n);
    case DType::kF8E4M3:
      return dot_of<V, DType::kF8E4M3>(x, y, n);
    case DType::kF8E5M2:
      return dot_of<V, DType::kF8E5M2>(x, y, n);
    default:
      return plain::dot(type, x, y, n);
  }
}

}  // namespace stockpot::vector

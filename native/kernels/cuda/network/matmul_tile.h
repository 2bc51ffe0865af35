#pragma once
// What the kernels of matmul.h share: reading an operand of either layout, and what follows a sum.
#include "matmul.h"

namespace stockpot::cuda {

// Four elements of op(X) at (row, k), along the dimension in which they lie together: k, or the
// row where `across`. Zeros beyond the ends.
template <class T, bool kAcross>
__device__ inline void load_four(const T* x, uint64_t ld, uint64_t row, uint64_t k, uint64_t rows,
                                 uint64_t depth, bool aligned, float (&to)[4]) {
  const uint64_t outer = kAcross ? k : row, inner = kAcross ? row : k;
  const uint64_t outers = kAcross ? depth : rows, inners = kAcross ? rows : depth;
  if (outer >= outers || inner >= inners) {
    for (float& v : to) v = 0.0f;
    return;
  }
  const T* from = x + outer * ld + inner;
  if (aligned && inner + 4 <= inners) {
    struct alignas(4 * sizeof(T)) Four {
      T v[4];
    };
    const Four four = *reinterpret_cast<const Four*>(from);
    for (int i = 0; i < 4; ++i) to[i] = to_float(four.v[i]);
    return;
  }
  for (uint64_t i = 0; i < 4; ++i) to[i] = inner + i < inners ? to_float(from[i]) : 0.0f;
}

template <class T>
__device__ inline float element_of(const void* x, bool is_float, uint64_t at) {
  return is_float ? static_cast<const float*>(x)[at] : to_float(static_cast<const T*>(x)[at]);
}

// What a sum begins with.
template <class T>
__device__ inline float first_of(const Matmul& p, uint64_t row, uint64_t column) {
  if (!p.accumulate || row >= p.m || column >= p.n) return 0.0f;
  return element_of<T>(p.c, p.c_float, row * p.ldc + column);
}

// Adds what follows and stores.
template <class T>
__device__ inline void finish(const Matmul& p, uint64_t row, uint64_t column, float sum) {
  if (row >= p.m || column >= p.n) return;
  const uint64_t at = row * p.ldc + column;
  if (p.bias) sum = __fadd_rn(sum, p.bias[column]);
  if (p.residual) sum = __fadd_rn(sum, element_of<T>(p.residual, p.c_float, at));
  if (p.c_float) {
    static_cast<float*>(p.c)[at] = sum;
  } else {
    static_cast<T*>(p.c)[at] = from_float<T>(sum);
  }
}

template <class T>
bool aligned_four(const void* x, uint64_t ld) {
  return reinterpret_cast<uint64_t>(x) % (4 * sizeof(T)) == 0 && ld % 4 == 0;
}

}  // namespace stockpot::cuda

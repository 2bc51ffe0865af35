#pragma once
// When float64 sums of k values are exact, and when a mean overflows: what the vector kernels and
// the GPU's watch for (docs/numerics.md). No std:: here: see cpu/mean_vector.h.
#include "mean.h"

namespace stockpot {

// The least float64 magnitude that rounds to infinity in t.
STOCKPOT_HD inline double overflow_threshold(DType t) {
  switch (t) {
    case DType::kF16:
      return 65520.0;
    case DType::kBF16:
      return 0x1.FFp127;
    case DType::kF32:
      return 0x1.FFFFFFp127;
    default:
      return __builtin_inf();
  }
}

// Largest difference of two float32 bit patterns (as integers, one in 2^23 an exponent step) for
// which k addends of the types at hand sum exactly: each is a multiple of 2^(e_min - p + 1), and
// sums stay below k·2^(e_max + 1).
inline int32_t exact_span(const DType* dtypes, uint32_t k) {
  int bits = 0;
  bool half = true;
  for (uint32_t i = 0; i < k; ++i) {
    const int b = significand_bits(dtypes[i]);
    bits = b > bits ? b : bits;
    half = half && b <= 11 && dtypes[i] != DType::kBF16;
  }
  if (half && k <= kAlwaysExactHalfInputs) return 0x7FFFFFFF;
  int log2_k = 0;
  while ((uint64_t{1} << log2_k) < k) ++log2_k;
  const int span = 53 - bits - log2_k;
  return span <= 0 ? 0 : span << 23;  // a span of 0 sends every group to the reference
}

}  // namespace stockpot

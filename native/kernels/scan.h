#pragma once
#include "dtype.h"

namespace stockpot {

struct Count {
  uint64_t count = 0;
  uint64_t first = UINT64_MAX;  // lowest index
};

// Elements that are NaN or infinite.
Count count_nonfinite(DType t, const uint8_t* p, size_t n);

// Elements whose bytes differ.
Count count_unequal(DType t, const uint8_t* a, const uint8_t* b, size_t n);

// out[i] = max over the k inputs, of an integer type.
void integer_max(DType t, const uint8_t* const* inputs, uint32_t k, size_t n, uint8_t* out);

struct Difference {
  Count unequal;
  double largest = 0;         // largest |a - b| in float64 (NaN counts as infinite)
  double sum_of_squares = 0;  // of a - b
};

// How far two tensors of possibly different types lie apart; equal values of different types do not
// differ.
Difference compare(DType ta, const uint8_t* a, DType tb, const uint8_t* b, size_t n);

}  // namespace stockpot

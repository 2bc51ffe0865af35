#pragma once
// The dot product of a stored tensor's elements with float32 values, in float64.
//
// Definition: element i is multiplied exactly (float64 holds the product of two float32 values; for
// F64 elements it is rounded once) and added to sum i mod 16, in order; the sixteen sums are then
// added in order. Every variant gives the same bits.
#include "dtype.h"

namespace stockpot {

constexpr size_t kDotLanes = 16;

using DotKernel = double (*)(DType, const uint8_t* x, const float* y, size_t n);

namespace plain {
double dot(DType, const uint8_t* x, const float* y, size_t n);  // the reference
// Adds n < kDotLanes products to the sums of the first lanes.
void add_products(DType, const uint8_t* x, const float* y, size_t n, double* sums);
}  // namespace plain
#if defined(__x86_64__)
namespace avx2 {
double dot(DType, const uint8_t* x, const float* y, size_t n);
}
namespace avx512 {
double dot(DType, const uint8_t* x, const float* y, size_t n);
}
#endif
#if defined(__aarch64__)
namespace neon {
double dot(DType, const uint8_t* x, const float* y, size_t n);
}
#endif

}  // namespace stockpot

#pragma once
// The weighted mean of k tensors, element by element: what every variant of the kernel takes and
// gives.
//
// Definition (docs/numerics.md). With m_i the value of input i, converted exactly to float64:
//   equal weights    q = RN64((m_0 + … + m_{k-1}) / k), the sum and the quotient exact before the
//   one rounding; other weights    q = w_0·m_0 + w_1·m_1 + …, float64 products and sums from left
//   to right, each rounded;
// and the output is q rounded to nearest even to the output's type, directly from float64. A NaN is
// written as the type's canonical quiet NaN. Every variant gives the same bits.
#include "dtype.h"

namespace stockpot {

struct MeanArgs {
  const uint8_t* const* inputs;  // k pointers to n elements each, of any alignment
  const DType* dtypes;           // k floating-point types
  const double* weights;         // k, or nullptr: equal weights
  uint32_t k;                    // 1 ≤ k
  size_t n;
  DType out_dtype;  // F64, F32, F16 or BF16
  uint8_t* out;     // n elements, any alignment; overlaps no input
};

// What a kernel saw on its way. Only ever set or raised, so one report serves many calls.
struct MeanReport {
  bool nonfinite = false;  // some input element is NaN or infinite
  uint64_t overflows =
      0;  // finite means that the output's type cannot hold (they are written as infinity)
};

using MeanKernel = void (*)(const MeanArgs&, MeanReport*);

namespace plain {
void mean(const MeanArgs&, MeanReport*);  // the reference: one element at a time
}
#if defined(__x86_64__)
namespace avx2 {
void mean(const MeanArgs&, MeanReport*);
}
namespace avx512 {
void mean(const MeanArgs&, MeanReport*);
}
#endif
#if defined(__aarch64__)
namespace neon {
void mean(const MeanArgs&, MeanReport*);
}
#endif

// Largest k for which sums of f16 and fp8 values are always exact in float64 (multiples of 2^-24
// below 2^16·k).
constexpr uint32_t kAlwaysExactHalfInputs = 8192;

}  // namespace stockpot

#pragma once
// Inner products of k tensors, block by block: what every variant of the kernel takes and gives.
//
// Definition (docs/analysis.md). With m_i the value of input i, converted exactly to float64, the
// vectors are
//   v_0 = m_0        v_i = RN64(m_i - m_0) for i > 0        (the first input is the reference)
// and the product of v_i and v_j over n <= kGramBlock elements is the sum of RN64(v_i[e] · v_j[e]),
// nothing fused, in kGramLanes chains: element e goes to chain e mod kGramLanes, in order; the
// chains c are then added as ((c0 + c4) + (c2 + c6)) + ((c1 + c5) + (c3 + c7)). Every variant gives
// the same bits. A product of n elements has one rounding for itself and at most n / kGramLanes + 3
// for sums, so it lies within kGramBlock / kGramLanes + 4 units 2^-53 of the sum of |v_i[e] v_j[e]|
// (to first order).
#include "dtype.h"

namespace stockpot {

constexpr size_t kGramBlock = 512;
constexpr size_t kGramLanes = 8;

struct GramArgs {
  const uint8_t* const* inputs;  // k pointers to n elements each, of any alignment
  const DType* dtypes;           // k floating-point types
  uint32_t k;                    // 1 ≤ k
  size_t n;                      // 1 ≤ n ≤ kGramBlock
  double* vectors;   // room for k·kGramBlock, 64-byte aligned; holds the v_i afterwards
  double* products;  // gram_pairs(k): (0,0), (0,1) … (0,k-1), (1,1) …
};

constexpr size_t gram_pairs(uint32_t k) { return size_t{k} * (size_t{k} + 1) / 2; }

using GramKernel = void (*)(const GramArgs&);

struct GramVariant {
  const char* name;
  GramKernel kernel;
};

// The variants that this machine can run, the fastest first; the last is always "plain".
const GramVariant* gram_variants(size_t* count);

namespace plain {
void gram(const GramArgs&);                                      // the reference
void widen(DType t, const uint8_t* from, size_t n, double* to);  // values as float64
}  // namespace plain
#if defined(__x86_64__)
namespace avx2 {
void gram(const GramArgs&);
}
namespace avx512 {
void gram(const GramArgs&);
}
#endif

}  // namespace stockpot

#pragma once
// Matrix products of a network on the device, without a library: for float32, where their sums are
// those of the processor's (a chain of fused multiply-adds over k, in order), and for bfloat16 and
// float16 where cuBLASLt is not there or where what follows the product should be fused with it.
// What a row gives does not depend on m or on the device.
#include "../../network_ops.h"
#include "number.h"

namespace stockpot::cuda {

// C [m, n] = op(A) · op(B), all row-major.
struct Matmul {
  Number number;
  uint64_t m, n, k;
  const void* a;  // [m, k], or [k, m] where a_transposed
  uint64_t lda;
  bool a_transposed = false;
  const void* b;  // [k, n], or [n, k] where b_transposed (a linear layer's weight)
  uint64_t ldb;
  bool b_transposed = false;
  void* c;
  uint64_t ldc;
  bool c_float = false;            // C is float32, else of `number`
  bool accumulate = false;         // C is added to
  const float* bias = nullptr;     // [n], added to each row
  const void* residual = nullptr;  // as C, added last
};

cudaError_t matmul(const Matmul&, cudaStream_t);

}  // namespace stockpot::cuda

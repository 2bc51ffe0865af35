#pragma once
// The arithmetic of a network's forward pass on float32 matrices, as a table of functions that each
// instruction set fills (native/kernels/cpu/ops_*.cc). All are row by row: what a row gives does
// not depend on other rows, on how many there are, or on the thread that computes it.
#include <cstddef>
#include <cstdint>

namespace stockpot {

enum class Activation : uint8_t { kNone, kGelu, kGeluTanh, kQuickGelu, kRelu, kTanh, kSilu };

// What is done with a row of a matrix product before it is stored: activation(x + bias) · scale ·
// multiply + residual.
struct Epilogue {
  const float* bias = nullptr;
  Activation activation = Activation::kNone;
  const float* scale = nullptr;
  const float* multiply = nullptr;  // rows as the output's, ld_multiply apart
  size_t ld_multiply = 0;
  const float* residual = nullptr;
  size_t ld_residual = 0;
};

// C = epilogue(A·B) for rows [0, m): A is [m, k], B packed in panels of `panel` columns, each [k,
// panel], zeros in the last one's rest. Each element is one chain of fused multiply-adds over k, in
// order.
struct Gemm {
  const float* a;
  size_t lda;
  const float* packed;
  size_t m, n, k;
  float* c;
  size_t ldc;
  Epilogue epilogue;
};

struct NetworkOps {
  const char* name;
  size_t panel;
  size_t row_tile;  // rows that are computed at a time; blocks of rows should be multiples of it
  // Columns of panels [first_panel, last_panel) only.
  void (*gemm)(const Gemm&, size_t first_panel, size_t last_panel);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon,
                     size_t columns, float* out);
  void (*rms_norm)(const float* x, const float* weight, float epsilon, size_t columns, float* out);
  // In place: exp(x - max) / sum. -infinity gives 0; a row of nothing else gives zeros.
  void (*softmax)(float* x, size_t columns);
  // log(sum(exp(x))).
  double (*log_sum_exp)(const float* x, size_t columns);
};

// The fastest on this machine, or the one named ("portable", "avx2", "avx512", "neon"); nullptr
// where it does not run.
const NetworkOps* network_ops(const char* name = nullptr);

// Packs row n of B's transpose (a linear layer's weight [n, k]) or column n of B [k, n].
void pack_rows(const float* from, size_t ld, size_t n, size_t k, size_t panel, float* to);
void pack_columns(const float* from, size_t ld, size_t n, size_t k, size_t panel, float* to);
inline size_t packed_size(size_t n, size_t k, size_t panel) {
  return (n + panel - 1) / panel * panel * k;
}

}  // namespace stockpot

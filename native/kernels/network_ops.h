#pragma once
// The arithmetic of a network's forward and backward pass on float32 matrices, as a table of
// functions that each instruction set fills (native/kernels/cpu/ops_*.cc). Those of the forward
// pass are row by row: what a row gives does not depend on other rows, on how many there are, or on
// the thread that computes it. Those of the backward pass that add over rows do so in order.
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
  float* before = nullptr;  // gets x + bias, what the backward pass needs; rows as the output's
  size_t ld_before = 0;
};

// How A lies in memory.
enum class Layout : uint8_t {
  kRows,     // [m, k], rows lda apart
  kColumns,  // [k, m], rows lda apart: A's transpose
  kTiles,    // pack_tiles
};

// C = epilogue(A·B) for rows [0, m): A is [m, k], B packed in panels of `panel` columns, each [k,
// panel], zeros in the last one's rest. Each element is one chain of fused multiply-adds over k, in
// order, that begins with 0, or with C's element where `accumulate`.
struct Gemm {
  const float* a;
  size_t lda;
  const float* packed;
  size_t m, n, k;
  float* c;
  size_t ldc;
  Epilogue epilogue;
  Layout layout = Layout::kRows;
  bool accumulate = false;
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
  // In place: exp(x - max) / sum. -infinity gives 0; a row of nothing else gives zeros, one with a
  // NaN (or +infinity) nothing but NaN.
  void (*softmax)(float* x, size_t columns);
  // log(sum(exp(x))); NaN where there is one.
  double (*log_sum_exp)(const float* x, size_t columns);

  // to += x.
  void (*add)(const float* x, size_t n, float* to);
  // to[j] += x[0][j] + x[1][j] + …, rows in order.
  void (*add_rows)(const float* x, size_t rows, size_t ld, size_t columns, float* to);
  // out = activation(z).
  void (*activate)(Activation, const float* z, size_t n, float* out);
  // dz = dy · activation'(z); dz may be dy.
  void (*activation_gradient)(Activation, const float* z, const float* dy, size_t n, float* dz);
  // Of one row, with dy the derivative by the output: dx gets the derivative by x (added to what is
  // there where `add`), and those by weight and bias are added to dweight and dbias.
  void (*layer_norm_gradient)(const float* x, const float* weight, float epsilon, const float* dy,
                              size_t columns, bool add, float* dx, float* dweight, float* dbias);
  void (*rms_norm_gradient)(const float* x, const float* weight, float epsilon, const float* dy,
                            size_t columns, bool add, float* dx, float* dweight);
  // In place: dp becomes the derivative by the softmax's input, p being its output.
  void (*softmax_gradient)(const float* p, size_t columns, float* dp);
};

// The fastest on this machine, or the one named ("portable", "avx2", "avx512", "neon"); nullptr
// where it does not run.
const NetworkOps* network_ops(const char* name = nullptr);

// Packs row n of B's transpose (a linear layer's weight [n, k]) or column n of B [k, n].
void pack_rows(const float* from, size_t ld, size_t n, size_t k, size_t panel, float* to);
void pack_columns(const float* from, size_t ld, size_t n, size_t k, size_t panel, float* to);
// Column k of B's transpose from B as pack_rows packed it (n columns, depth k): B' has k columns
// and depth n. Panels [first_panel, last_panel) of B' only.
void repack(const float* packed, size_t n, size_t k, size_t panel, size_t first_panel,
            size_t last_panel, float* to);
// A's transpose from A' [k, m], rows ld apart, for Layout::kTiles: tiles of `row_tile` rows, each
// [k, row_tile], zeros in the last one's rest. Tiles [first_tile, last_tile) only.
void pack_tiles(const float* from, size_t ld, size_t m, size_t k, size_t row_tile,
                size_t first_tile, size_t last_tile, float* to);
inline size_t packed_size(size_t n, size_t k, size_t panel) {
  return (n + panel - 1) / panel * panel * k;
}

}  // namespace stockpot

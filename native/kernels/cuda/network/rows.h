#pragma once
// The operations of a network that go row by row, on the device: what lib/models/graph.ts says of
// each, forward and backward. Pointers are the device's. `void*` are values, matrices and tables in
// the network's Number; `float*` are vectors (biases, weights of norms, scales), gradients of
// weights, and what is summed. A value of `rows` rows lies row-major without gaps: `rows` counts
// those of all examples, `each` those of one.
//
// What a row gives does not depend on the others, on how many there are, or on the device.
// Gradients of weights are added to what is there; their sums over rows are taken in an order that
// follows from the sizes alone, in two steps through `partial` (partial_floats(rows, columns) of
// it, aligned to 16 bytes). `add`: the gradient of an operand is added to what is there, else it
// replaces it. No function waits.
#include "../../network_ops.h"
#include "number.h"

namespace stockpot::cuda {

// An input of images [channels, height, width]: float32, or bytes that are normalised as
// (byte · factor - mean) / deviation, channel by channel.
struct Images {
  const void* data;
  bool bytes;
  uint32_t channels, height, width;
  float factor = 1, mean[4] = {}, deviation[4] = {1, 1, 1, 1};
};

struct Ids {
  const int32_t* data;
  bool shared;  // the same `each` ids for every example
};

// Forward.
cudaError_t patches(Number, const Images&, uint32_t patch, uint64_t examples, void* out,
                    cudaStream_t);
// Ids beyond the table, which the caller has refused, read its last row.
cudaError_t embedding(Number, const Ids&, const void* table, uint64_t table_rows, uint64_t each,
                      uint64_t rows, uint64_t columns, void* out, cudaStream_t);
// Row r of x + row r mod each of the table (each = 1: one row for all).
cudaError_t add_rows(Number, const void* x, const void* table, uint64_t each, uint64_t rows,
                     uint64_t columns, void* out, cudaStream_t);
cudaError_t add(Number, const void* x, const void* y, uint64_t elements, void* out, cudaStream_t);
// `each`, `rows`: the output's.
cudaError_t prepend_row(Number, const void* x, const void* row, uint64_t each, uint64_t rows,
                        uint64_t columns, void* out, cudaStream_t);

// out = activation(z + bias) · scale · multiply + residual; any of them nullptr. `before` gets
// z + bias. out, before and z may be the same place.
struct EpiloguePass {
  const void* z;
  const float* bias = nullptr;
  Activation activation = Activation::kNone;
  const float* scale = nullptr;
  const void* multiply = nullptr;
  const void* residual = nullptr;
  void* before = nullptr;
  void* out;
  uint64_t rows, columns;
};
cudaError_t epilogue(Number, const EpiloguePass&, cudaStream_t);

cudaError_t layer_norm(Number, const void* x, const float* weight, const float* bias, float epsilon,
                       uint64_t rows, uint64_t columns, void* out, cudaStream_t);
cudaError_t rms_norm(Number, const void* x, const float* weight, float epsilon, uint64_t rows,
                     uint64_t columns, void* out, cudaStream_t);
// Row `index` of each example's `each` rows.
cudaError_t select_row(Number, const void* x, uint64_t index, uint64_t each, uint64_t examples,
                       uint64_t columns, void* out, cudaStream_t);
// The first where the id is the largest (equal < 0) or `equal`; row 0 where none is.
cudaError_t select_row_by_id(Number, const void* x, const int32_t* ids, int64_t equal,
                             uint64_t each, uint64_t examples, uint64_t columns, void* out,
                             cudaStream_t);
cudaError_t mean_rows(Number, const void* x, uint64_t from, uint64_t each, uint64_t examples,
                      uint64_t columns, void* out, cudaStream_t);
cudaError_t l2_normalize(Number, const void* x, uint64_t rows, uint64_t columns, void* out,
                         cudaStream_t);
// x · by · exp(*power), power of nullptr: x · by.
cudaError_t scale(Number, const void* x, float by, const float* power, uint64_t elements, void* out,
                  cudaStream_t);
// `vocabulary` columns; labels [classes, length] of all examples, negative ones count nothing.
cudaError_t log_likelihood(Number, const void* x, const int32_t* labels, uint64_t classes,
                           uint64_t length, uint64_t vocabulary, uint64_t examples, void* out,
                           cudaStream_t);
// Between float32 and the network's Number: shared inputs, outputs, gradients.
cudaError_t to_number(Number, const float* from, uint64_t elements, void* to, cudaStream_t);
cudaError_t to_float32(Number, const void* from, uint64_t elements, float* to, cudaStream_t);

// Backward. dx may be dy where they have the same size.
uint64_t partial_floats(uint64_t rows, uint64_t columns);

cudaError_t embedding_gradient(Number, const Ids&, const void* dy, uint64_t table_rows,
                               uint64_t each, uint64_t rows, uint64_t columns, float* dtable,
                               float* partial, cudaStream_t);
// Sums dy over the rows that got the same row of the table (a bias: each = 1).
cudaError_t add_rows_gradient(Number, const void* dy, uint64_t each, uint64_t rows,
                              uint64_t columns, float* dtable, float* partial, cudaStream_t);
// to += from, or to = from.
cudaError_t pass_gradient(Number, const void* from, uint64_t elements, bool add, void* to,
                          cudaStream_t);
// dx (nullptr: none) of the rows behind the first, drow of the first.
cudaError_t prepend_row_gradient(Number, const void* dy, uint64_t each, uint64_t rows,
                                 uint64_t columns, bool add, void* dx, float* drow, float* partial,
                                 cudaStream_t);

// With z = x·Wᵀ + bias kept as `before` (nullptr where nothing but bias and residual follow; then
// dz is dy): dz = dy · scale · multiply · activation'(z); dmultiply = dy · activation(z) · scale;
// dscale += Σ dy · activation(z) · multiply; dbias += Σ dz. dz may be dy. What is nullptr is left
// out. The residual's gradient is dy (pass_gradient).
struct EpilogueGradient {
  const void* dy;
  const void* before = nullptr;
  Activation activation = Activation::kNone;
  const float* scale = nullptr;
  const void* multiply = nullptr;
  void* dz = nullptr;
  void* dmultiply = nullptr;
  bool add_multiply = false;
  float* dbias = nullptr;
  float* dscale = nullptr;
  float* partial = nullptr;
  uint64_t rows, columns;
};
cudaError_t epilogue_gradient(Number, const EpilogueGradient&, cudaStream_t);

// dx of nullptr: none.
cudaError_t layer_norm_gradient(Number, const void* x, const float* weight, float epsilon,
                                const void* dy, uint64_t rows, uint64_t columns, bool add, void* dx,
                                float* dweight, float* dbias, float* partial, cudaStream_t);
cudaError_t rms_norm_gradient(Number, const void* x, const float* weight, float epsilon,
                              const void* dy, uint64_t rows, uint64_t columns, bool add, void* dx,
                              float* dweight, float* partial, cudaStream_t);
cudaError_t select_row_gradient(Number, const void* dy, uint64_t index, uint64_t each,
                                uint64_t examples, uint64_t columns, bool add, void* dx,
                                cudaStream_t);
cudaError_t select_row_by_id_gradient(Number, const void* dy, const int32_t* ids, int64_t equal,
                                      uint64_t each, uint64_t examples, uint64_t columns, bool add,
                                      void* dx, cudaStream_t);
cudaError_t mean_rows_gradient(Number, const void* dy, uint64_t from, uint64_t each,
                               uint64_t examples, uint64_t columns, bool add, void* dx,
                               cudaStream_t);
cudaError_t l2_normalize_gradient(Number, const void* x, const void* dy, uint64_t rows,
                                  uint64_t columns, bool add, void* dx, cudaStream_t);
// dx (nullptr: none); dpower += Σ dy · y.
cudaError_t scale_gradient(Number, const void* x, float by, const float* power, const void* dy,
                           uint64_t rows, uint64_t columns, bool add, void* dx, float* dpower,
                           float* partial, cudaStream_t);
cudaError_t log_likelihood_gradient(Number, const void* x, const int32_t* labels, const void* dy,
                                    uint64_t classes, uint64_t length, uint64_t vocabulary,
                                    uint64_t examples, bool add, void* dx, cudaStream_t);

}  // namespace stockpot::cuda

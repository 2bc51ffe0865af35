// What follows a product, in one pass over its rows.
#include "activations.h"
#include "pack.h"
#include "rows.h"

namespace stockpot::cuda {
namespace {

template <class T, Activation kActivation>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    epilogue_kernel(const __grid_constant__ EpiloguePass pass, bool aligned, int rows_each) {
  constexpr int kCount = kWidth<T>;
  const Tile tile = tile_of_thread<kCount>(rows_each);
  const int count = count_at<kCount>(tile.column, pass.columns);
  if (count == 0) return;
  float bias[kCount] = {}, scale[kCount];
  if (pass.bias) load<kCount>(pass.bias + tile.column, aligned, count, bias);
  if (pass.scale) load<kCount>(pass.scale + tile.column, aligned, count, scale);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const uint64_t row = tile.row + i * kRowLanes;
    if (i >= rows_each || row >= pass.rows) break;
    const uint64_t at = row * pass.columns + tile.column;
    float z[kCount], other[kCount];
    load<kCount>(static_cast<const T*>(pass.z) + at, aligned, count, z);
#pragma unroll
    for (int j = 0; j < kCount; ++j) z[j] += bias[j];
    if (pass.before) store<kCount>(static_cast<T*>(pass.before) + at, aligned, count, z);
#pragma unroll
    for (int j = 0; j < kCount; ++j) z[j] = activate<kActivation>(z[j]);
    if (pass.scale) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) z[j] *= scale[j];
    }
    if (pass.multiply) {
      load<kCount>(static_cast<const T*>(pass.multiply) + at, aligned, count, other);
#pragma unroll
      for (int j = 0; j < kCount; ++j) z[j] *= other[j];
    }
    if (pass.residual) {
      load<kCount>(static_cast<const T*>(pass.residual) + at, aligned, count, other);
#pragma unroll
      for (int j = 0; j < kCount; ++j) z[j] += other[j];
    }
    store<kCount>(static_cast<T*>(pass.out) + at, aligned, count, z);
  }
}

}  // namespace

cudaError_t epilogue(Number number, const EpiloguePass& pass, cudaStream_t stream) {
  if (pass.rows == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return with_activation(pass.activation, [&](auto activation) {
      const int rows_each = rows_of_thread(pass.rows);
      const bool aligned = is_aligned(pass.columns, kWidth<T>, pass.z, pass.bias, pass.scale,
                                      pass.multiply, pass.residual, pass.before, pass.out);
      return start(epilogue_kernel<T, decltype(activation)::value>,
                   tiles(pass.rows, pass.columns, kWidth<T>, rows_each, stream), pass, aligned,
                   rows_each);
    });
  });
}

}  // namespace stockpot::cuda

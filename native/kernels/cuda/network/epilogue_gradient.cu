// The derivatives of what follows a product, in one pass over the rows, with the sums over them.
#include "activations.h"
#include "column_sums.h"

namespace stockpot::cuda {
namespace {

// A block has kLanes pieces of a part's rows; its rows of threads take turns at the rows.
// kGated: with what is multiplied behind the activation.
template <class T, Activation kActivation, bool kGated>
__global__ void __launch_bounds__(kLanes* kRowLanes, kGated ? 2 : 3)
    epilogue_gradient_kernel(const __grid_constant__ EpilogueGradient g, uint64_t rows_each,
                             bool aligned) {
  constexpr int kCount = kWidth<T>;
  __shared__ float room[kRowLanes * kLanes * kCount];
  const uint64_t column = (uint64_t{blockIdx.y} * kLanes + threadIdx.x) * kCount;
  const int count = count_at<kCount>(column, g.columns);
  const uint64_t first = blockIdx.x * rows_each;
  const uint64_t last = first + rows_each < g.rows ? first + rows_each : g.rows;
  float scale[kCount], dbias[kCount] = {}, dscale[kCount] = {};
#pragma unroll
  for (int j = 0; j < kCount; ++j) scale[j] = 1;
  if (kGated && g.scale && count > 0) load<kCount>(g.scale + column, aligned, count, scale);
  for (uint64_t r = first + threadIdx.y; count > 0 && r < last; r += kRowLanes) {
    const uint64_t at = r * g.columns + column;
    float dy[kCount], z[kCount] = {};  // the latter where none is kept: nothing depends on it
    load<kCount>(static_cast<const T*>(g.dy) + at, aligned, count, dy);
    if (g.before) load<kCount>(static_cast<const T*>(g.before) + at, aligned, count, z);
    if constexpr (kGated) {
      float times[kCount] = {};
      if (g.multiply) load<kCount>(static_cast<const T*>(g.multiply) + at, aligned, count, times);
      if (g.dmultiply || g.dscale) {
        float active[kCount];
#pragma unroll
        for (int j = 0; j < kCount; ++j) active[j] = dy[j] * activate<kActivation>(z[j]);
        if (g.dscale) {
#pragma unroll
          for (int j = 0; j < kCount; ++j)
            dscale[j] += g.multiply ? active[j] * times[j] : active[j];
        }
        if (g.dmultiply) {
          T* to = static_cast<T*>(g.dmultiply) + at;
          float there[kCount] = {};
          if (g.add_multiply) load<kCount>(to, aligned, count, there);
#pragma unroll
          for (int j = 0; j < kCount; ++j) active[j] = active[j] * scale[j] + there[j];
          store<kCount>(to, aligned, count, active);
        }
      }
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        dy[j] *= scale[j];
        if (g.multiply) dy[j] *= times[j];
      }
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if constexpr (kActivation != Activation::kNone) dy[j] *= slope<kActivation>(z[j]);
      dbias[j] += dy[j];
    }
    if (g.dz) store<kCount>(static_cast<T*>(g.dz) + at, aligned, count, dy);
  }
  // What both sums have in `partial`: first dbias, where it is wanted.
  float* to = g.partial + blockIdx.x * g.columns * (g.dbias && g.dscale ? 2 : 1) + column;
  if (g.dbias) {
    sum_row_lanes<kCount>(dbias, room);
    if (threadIdx.y == 0 && count > 0) store<kCount>(to, aligned, count, dbias);
    to += g.columns;
    __syncthreads();
  }
  if (kGated && g.dscale) {
    sum_row_lanes<kCount>(dscale, room);
    if (threadIdx.y == 0 && count > 0) store<kCount>(to, aligned, count, dscale);
  }
}

}  // namespace

cudaError_t epilogue_gradient(Number number, const EpilogueGradient& g, cudaStream_t stream) {
  if (g.rows == 0) return cudaSuccess;
  const bool sums = g.dbias || g.dscale;
  if ((!g.before && (g.activation != Activation::kNone || g.dmultiply || g.dscale)) ||
      (sums && !g.partial)) {
    return cudaErrorInvalidValue;
  }
  // Nothing to compute: the sums alone.
  if (!g.before && !g.scale && !g.multiply && (!g.dz || g.dz == g.dy)) {
    if (!g.dbias) return cudaSuccess;
    return add_rows_gradient(number, g.dy, 1, g.rows, g.columns, g.dbias, g.partial, stream);
  }
  const Parts parts = parts_of(g.rows);
  const cudaError_t e = with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return with_activation(g.activation, [&](auto activation) {
      const dim3 blocks(blocks_of(parts.count),
                        blocks_of(divide_up(g.columns, kLanes * kWidth<T>)));
      const bool aligned = is_aligned(g.columns, kWidth<T>, g.dy, g.before, g.scale, g.multiply,
                                      g.dz, g.dmultiply, g.partial);
      constexpr Activation kActivation = decltype(activation)::value;
      const bool gated = g.scale || g.multiply || g.dmultiply || g.dscale;
      return start(gated ? epilogue_gradient_kernel<T, kActivation, true>
                         : epilogue_gradient_kernel<T, kActivation, false>,
                   {blocks, dim3(kLanes, kRowLanes), stream}, g, parts.rows_each, aligned);
    });
  });
  if (e != cudaSuccess || !sums) return e;
  return g.dbias ? sum_parts(g.partial, parts.count, g.columns, g.dbias, g.dscale, stream)
                 : sum_parts(g.partial, parts.count, g.columns, g.dscale, nullptr, stream);
}

}  // namespace stockpot::cuda

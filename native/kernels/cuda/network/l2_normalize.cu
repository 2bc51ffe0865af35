// Rows divided by their length, and the derivative; there is one such row an example, so the sums
// may be float64, as the processor's are.
#include "pack.h"
#include "reduce.h"
#include "rows.h"

namespace stockpot::cuda {
namespace {

constexpr int kThreads = 128;

// A block has a row.
template <class T>
__global__ void __launch_bounds__(kThreads) l2_kernel(const T* x, uint64_t columns, T* out) {
  __shared__ double room[kThreads / 32];
  x += blockIdx.x * columns;
  out += blockIdx.x * columns;
  double square = 0;
  for (uint64_t i = threadIdx.x; i < columns; i += kThreads) {
    const double v = to_float(x[i]);
    square += v * v;
  }
  const float scale = static_cast<float>(1.0 / sqrt(sum_threads<kThreads>(square, room)));
  for (uint64_t i = threadIdx.x; i < columns; i += kThreads)
    out[i] = from_float<T>(to_float(x[i]) * scale);
}

// y = x / |x|: dx = (dy - y (y·dy)) / |x|
template <class T>
__global__ void __launch_bounds__(kThreads)
    l2_gradient_kernel(const T* x, const T* dy, uint64_t columns, bool add, T* dx) {
  __shared__ double room[2][kThreads / 32];
  x += blockIdx.x * columns;
  dy += blockIdx.x * columns;
  dx += blockIdx.x * columns;
  double square = 0, along = 0;
  for (uint64_t i = threadIdx.x; i < columns; i += kThreads) {
    const double v = to_float(x[i]);
    square += v * v;
    along += v * to_float(dy[i]);
  }
  square = sum_threads<kThreads>(square, room[0]);
  along = sum_threads<kThreads>(along, room[1]);
  const double by = along / square, inverse = 1.0 / sqrt(square);
  for (uint64_t i = threadIdx.x; i < columns; i += kThreads) {
    const float g = static_cast<float>((to_float(dy[i]) - to_float(x[i]) * by) * inverse);
    dx[i] = from_float<T>(add ? to_float(dx[i]) + g : g);
  }
}

}  // namespace

cudaError_t l2_normalize(Number number, const void* x, uint64_t rows, uint64_t columns, void* out,
                         cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return start(l2_kernel<T>, {blocks_of(rows), kThreads, stream}, static_cast<const T*>(x),
                 columns, static_cast<T*>(out));
  });
}

cudaError_t l2_normalize_gradient(Number number, const void* x, const void* dy, uint64_t rows,
                                  uint64_t columns, bool add, void* dx, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return start(l2_gradient_kernel<T>, {blocks_of(rows), kThreads, stream},
                 static_cast<const T*>(x), static_cast<const T*>(dy), columns, add,
                 static_cast<T*>(dx));
  });
}

}  // namespace stockpot::cuda

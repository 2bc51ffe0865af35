#include "activations.h"
#include "column_sums.h"

namespace stockpot::cuda {
namespace {

constexpr int kThreads = 256;

// y = x · c, c = by · exp(power): dx = dy · c, dpower = Σ dy · y. A block has a part of the rows.
template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_gradient_kernel(const T* x, float by, const float* power, const T* dy, uint64_t from_each,
                          uint64_t elements, bool add, T* dx, float* partial, bool aligned) {
  constexpr int kCount = kWidth<T>;
  __shared__ double room[kThreads / 32];
  const float c = power ? exp_of(*power) * by : by;
  const uint64_t first = blockIdx.x * from_each;
  const uint64_t last = first + from_each < elements ? first + from_each : elements;
  double sum = 0;
  for (uint64_t at = first + threadIdx.x * kCount; at < last; at += kThreads * kCount) {
    const int count = count_at<kCount>(at, last);
    float g[kCount], v[kCount];
    load<kCount>(dy + at, aligned, count, g);
    if (partial) {
      load<kCount>(x + at, aligned, count, v);
      float few = 0;
#pragma unroll
      for (int i = 0; i < kCount; ++i) few = fmaf(g[i], v[i] * c, few);
      sum += few;
    }
    if (dx) {
      float there[kCount] = {};
      if (add) load<kCount>(dx + at, aligned, count, there);
#pragma unroll
      for (int i = 0; i < kCount; ++i) g[i] = there[i] + g[i] * c;
      store<kCount>(dx + at, aligned, count, g);
    }
  }
  if (!partial) return;
  sum = sum_threads<kThreads>(sum, room);
  if (threadIdx.x == 0) partial[blockIdx.x] = static_cast<float>(sum);
}

}  // namespace

cudaError_t scale_gradient(Number number, const void* x, float by, const float* power,
                           const void* dy, uint64_t rows, uint64_t columns, bool add, void* dx,
                           float* dpower, float* partial, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const Parts parts = parts_of(rows);
  const cudaError_t e = with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return start(scale_gradient_kernel<T>, {blocks_of(parts.count), kThreads, stream},
                 static_cast<const T*>(x), by, power, static_cast<const T*>(dy),
                 parts.rows_each * columns, rows * columns, add, static_cast<T*>(dx),
                 dpower ? partial : nullptr, is_aligned(columns, kWidth<T>, x, dy, dx));
  });
  if (e != cudaSuccess || !dpower) return e;
  return sum_parts(partial, parts.count, 1, dpower, nullptr, stream);
}

}  // namespace stockpot::cuda

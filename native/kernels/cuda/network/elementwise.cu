// What is done element by element, and adding a table's rows.
#include "activations.h"
#include "pack.h"
#include "rows.h"

namespace stockpot::cuda {
namespace {

constexpr unsigned kThreads = 256;

struct Sum {
  __device__ float operator()(float x, float y) const { return x + y; }
};
struct First {
  __device__ float operator()(float x, float) const { return x; }
};
struct Times {
  float by;
  const float* power;
  __device__ float operator()(float x, float) const {
    return x * (power ? exp_of(*power) * by : by);
  }
};

// out = f(x, y); y may be nullptr. out may be x or y.
template <int kCount, class A, class B, class To, class F>
__global__ void __launch_bounds__(kThreads)
    elementwise_kernel(const A* x, const B* y, To* out, uint64_t n, bool aligned, F f) {
  const uint64_t at = (uint64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount;
  const int count = count_at<kCount>(at, n);
  if (count == 0) return;
  aligned = aligned && count == kCount;
  float a[kCount], b[kCount] = {};
  load<kCount>(x + at, aligned, count, a);
  if (y) load<kCount>(y + at, aligned, count, b);
#pragma unroll
  for (int i = 0; i < kCount; ++i) a[i] = f(a[i], b[i]);
  store<kCount>(out + at, aligned, count, a);
}

template <class A, class B, class To, class F>
cudaError_t elementwise(const A* x, const B* y, To* out, uint64_t n, const F& f,
                        cudaStream_t stream) {
  constexpr int kCount = kWidth < A >> kWidth<To> ? kWidth<A> : kWidth<To>;
  if (n == 0) return cudaSuccess;
  return start(elementwise_kernel<kCount, A, B, To, F>,
               {blocks_of(divide_up(n, kThreads * kCount)), kThreads, stream}, x, y, out, n,
               is_aligned(0, kCount, x, y, out), f);
}

template <class T>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    add_rows_kernel(const T* x, const T* table, uint64_t each, uint64_t rows, uint64_t columns,
                    T* out, bool aligned, int rows_each) {
  constexpr int kCount = kWidth<T>;
  const Tile tile = tile_of_thread<kCount>(rows_each);
  const int count = count_at<kCount>(tile.column, columns);
  if (count == 0) return;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const uint64_t row = tile.row + i * kRowLanes;
    if (i >= rows_each || row >= rows) break;
    float a[kCount], b[kCount];
    load<kCount>(x + row * columns + tile.column, aligned, count, a);
    load<kCount>(table + row % each * columns + tile.column, aligned, count, b);
#pragma unroll
    for (int j = 0; j < kCount; ++j) a[j] += b[j];
    store<kCount>(out + row * columns + tile.column, aligned, count, a);
  }
}

}  // namespace

cudaError_t add(Number number, const void* x, const void* y, uint64_t elements, void* out,
                cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return elementwise(static_cast<const T*>(x), static_cast<const T*>(y), static_cast<T*>(out),
                       elements, Sum{}, stream);
  });
}

cudaError_t scale(Number number, const void* x, float by, const float* power, uint64_t elements,
                  void* out, cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return elementwise(static_cast<const T*>(x), static_cast<const T*>(nullptr),
                       static_cast<T*>(out), elements, Times{by, power}, stream);
  });
}

cudaError_t pass_gradient(Number number, const void* from, uint64_t elements, bool add, void* to,
                          cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const T *a = static_cast<const T*>(from), *none = nullptr;
    T* b = static_cast<T*>(to);
    return add ? elementwise(a, static_cast<const T*>(to), b, elements, Sum{}, stream)
               : elementwise(a, none, b, elements, First{}, stream);
  });
}

cudaError_t to_number(Number number, const float* from, uint64_t elements, void* to,
                      cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return elementwise(from, static_cast<const float*>(nullptr), static_cast<T*>(to), elements,
                       First{}, stream);
  });
}

cudaError_t to_float32(Number number, const void* from, uint64_t elements, float* to,
                       cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return elementwise(static_cast<const T*>(from), static_cast<const T*>(nullptr), to, elements,
                       First{}, stream);
  });
}

cudaError_t add_rows(Number number, const void* x, const void* table, uint64_t each, uint64_t rows,
                     uint64_t columns, void* out, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const int rows_each = rows_of_thread(rows);
    return start(add_rows_kernel<T>, tiles(rows, columns, kWidth<T>, rows_each, stream),
                 static_cast<const T*>(x), static_cast<const T*>(table), each, rows, columns,
                 static_cast<T*>(out), is_aligned(columns, kWidth<T>, x, table, out), rows_each);
  });
}

}  // namespace stockpot::cuda

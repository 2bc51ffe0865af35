// The derivatives of LayerNorm and RMSNorm. With x̂ the normalised row, r what it was multiplied by
// and g = dy · weight: dx = r · (g - mean(g) - x̂ · mean(g · x̂)), without mean(g) for RMSNorm;
// dweight += Σ dy · x̂, dbias += Σ dy.
#include "column_sums.h"
#include "norm_row.h"

namespace stockpot::cuda {
namespace {

template <class T>
struct NormGradient {
  const T* x;
  const float* weight;
  float epsilon;
  const T* dy;
  uint64_t rows, columns, rows_each;
  bool add;
  T* dx;           // nullptr: none
  float* partial;  // [parts][2, or 1 for RMSNorm][columns]
  bool aligned;
};

constexpr int kValues = 16;  // of a thread: with their sums, as many as registers allow
// Groups of threads that take turns at the rows of a part: they divide kRowLanes, so that all have
// equally many.
template <int kGroup>
constexpr int kGroups = kGroup < 256 ? 256 / kGroup : 1;

// A block has a part of the rows; each thread keeps the sums of its columns in registers.
template <class T, int kGroup, bool kCentred>
__global__ void __launch_bounds__(kGroup* kGroups<kGroup>)
    norm_gradient_kernel(const __grid_constant__ NormGradient<T> n) {
  using Row = NormRow<T, kGroup, kValues>;
  constexpr int kKinds = kCentred ? 2 : 1;
  __shared__ float room[kGroups<kGroup>][4 * Row::kWarpsOfGroup];
  const Row row{n.columns, n.aligned, room[Row::group()]};
  const float size = static_cast<float>(n.columns);
  float dweight[kValues] = {}, dbias[kValues] = {};
  for (uint64_t at = Row::group(); at < n.rows_each; at += kGroups<kGroup>) {
    const uint64_t r = blockIdx.x * n.rows_each + at;
    const bool there = r < n.rows;
    if (kGroup == 32 && !there) break;
    float hat[kValues] = {}, g[kValues] = {}, other[kValues];
    if (there) {
      row.load_row(n.x + r * n.columns, hat);
      row.load_row(n.dy + r * n.columns, g);
    }
    const float by = row.template normalise<kCentred>(hat, n.epsilon);
    row.load_row(n.weight, other);
    float total = 0, along = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if (there) {
        dweight[i] = fmaf(g[i], hat[i], dweight[i]);
        if constexpr (kCentred) dbias[i] += g[i];
      }
      g[i] *= other[i];
      if constexpr (kCentred) total += g[i];
      along = fmaf(g[i], hat[i], along);
    }
    row.sum_both(total, along);
    total /= size;
    along /= size;
    if (n.dx && there) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) g[i] = (g[i] - total - hat[i] * along) * by;
      T* to = n.dx + r * n.columns;
      if (n.add) {
        row.load_row(static_cast<const T*>(to), other);
#pragma unroll
        for (int i = 0; i < kValues; ++i) g[i] += other[i];
      }
      row.store_row(to, g);
    }
  }
  if constexpr (kGroups < kGroup >> 1) {
    // The groups' sums, one after the other.
    __shared__ float sums[kKinds * kValues][kGroup];
    const unsigned thread = threadIdx.x % kGroup;
    for (int w = 0; w < kGroups<kGroup>; ++w) {
      if (Row::group() == w) {
#pragma unroll
        for (int i = 0; i < kValues; ++i) {
          float &weight = sums[i][thread], &bias = sums[(kKinds - 1) * kValues + i][thread];
          weight = w == 0 ? dweight[i] : weight + dweight[i];
          if constexpr (kCentred) bias = w == 0 ? dbias[i] : bias + dbias[i];
        }
      }
      __syncthreads();
    }
    if (Row::group() > 0) return;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      dweight[i] = sums[i][thread];
      if constexpr (kCentred) dbias[i] = sums[kValues + i][thread];
    }
  }
  float* to = n.partial + blockIdx.x * n.columns * kKinds;
  row.store_row(to, dweight);
  if constexpr (kCentred) row.store_row(to + n.columns, dbias);
}

constexpr int kLongThreads = 512;

// Rows that no registers hold are read again for each step, and the sums stay in `partial`, where
// each thread adds to its own columns.
template <class T, bool kCentred>
__global__ void __launch_bounds__(kLongThreads)
    long_norm_gradient_kernel(const __grid_constant__ NormGradient<T> n) {
  __shared__ float room[4][kLongThreads / 32];
  const float size = static_cast<float>(n.columns);
  const uint64_t first = blockIdx.x * n.rows_each;
  const uint64_t last = first + n.rows_each < n.rows ? first + n.rows_each : n.rows;
  float* dweight = n.partial + blockIdx.x * n.columns * (kCentred ? 2 : 1);
  float* dbias = dweight + n.columns;
  for (uint64_t i = threadIdx.x; i < n.columns; i += kLongThreads) {
    dweight[i] = 0;
    if constexpr (kCentred) dbias[i] = 0;
  }
  for (uint64_t r = first; r < last; ++r) {
    const T *x = n.x + r * n.columns, *dy = n.dy + r * n.columns;
    float mean = 0, square = 0, total = 0, along = 0;
    if constexpr (kCentred) {
      for (uint64_t i = threadIdx.x; i < n.columns; i += kLongThreads) mean += to_float(x[i]);
      mean = sum_threads<kLongThreads>(mean, room[0]) / size;
    }
    for (uint64_t i = threadIdx.x; i < n.columns; i += kLongThreads) {
      const float d = to_float(x[i]) - mean;
      square = fmaf(d, d, square);
    }
    const float by = 1.0f / sqrtf(sum_threads<kLongThreads>(square, room[1]) / size + n.epsilon);
    for (uint64_t i = threadIdx.x; i < n.columns; i += kLongThreads) {
      const float hat = (to_float(x[i]) - mean) * by, d = to_float(dy[i]), g = d * n.weight[i];
      dweight[i] = fmaf(d, hat, dweight[i]);
      if constexpr (kCentred) dbias[i] += d;
      total += g;
      along = fmaf(g, hat, along);
    }
    along = sum_threads<kLongThreads>(along, room[2]) / size;
    total = kCentred ? sum_threads<kLongThreads>(total, room[3]) / size : 0;
    for (uint64_t i = threadIdx.x; n.dx && i < n.columns; i += kLongThreads) {
      const float hat = (to_float(x[i]) - mean) * by, g = to_float(dy[i]) * n.weight[i];
      const float d = (g - total - hat * along) * by;
      T* to = n.dx + r * n.columns + i;
      *to = from_float<T>(n.add ? to_float(*to) + d : d);
    }
  }
}

// Calls f(NormShape) with what suits rows of `columns`, at most kMostInRegisters.
template <class F>
cudaError_t with_shape(uint64_t columns, const F& f) {
  if (columns <= 512) return f(NormShape<32, kValues>{});
  if (columns <= 1024) return f(NormShape<64, kValues>{});
  if (columns <= 2048) return f(NormShape<128, kValues>{});
  if (columns <= 4096) return f(NormShape<256, kValues>{});
  return f(NormShape<512, kValues>{});
}

template <bool kCentred>
cudaError_t norm_gradient(Number number, const void* x, const float* weight, float epsilon,
                          const void* dy, uint64_t rows, uint64_t columns, bool add, void* dx,
                          float* dweight, float* dbias, float* partial, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const Parts parts = parts_of(rows);
  const cudaError_t e = with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const NormGradient<T> n{static_cast<const T*>(x),
                            weight,
                            epsilon,
                            static_cast<const T*>(dy),
                            rows,
                            columns,
                            parts.rows_each,
                            add,
                            static_cast<T*>(dx),
                            partial,
                            is_aligned(columns, kWidth<T>, x, weight, dy, dx, partial)};
    if (columns > kMostInRegisters) {
      return start(long_norm_gradient_kernel<T, kCentred>,
                   {blocks_of(parts.count), kLongThreads, stream}, n);
    }
    return with_shape(columns, [&](auto shape) {
      constexpr int kGroup = decltype(shape)::group;
      return start(norm_gradient_kernel<T, kGroup, kCentred>,
                   {blocks_of(parts.count), kGroup * kGroups<kGroup>, stream}, n);
    });
  });
  if (e != cudaSuccess) return e;
  return sum_parts(partial, parts.count, columns, dweight, dbias, stream);
}

}  // namespace

cudaError_t layer_norm_gradient(Number number, const void* x, const float* weight, float epsilon,
                                const void* dy, uint64_t rows, uint64_t columns, bool add, void* dx,
                                float* dweight, float* dbias, float* partial, cudaStream_t stream) {
  return norm_gradient<true>(number, x, weight, epsilon, dy, rows, columns, add, dx, dweight, dbias,
                             partial, stream);
}

cudaError_t rms_norm_gradient(Number number, const void* x, const float* weight, float epsilon,
                              const void* dy, uint64_t rows, uint64_t columns, bool add, void* dx,
                              float* dweight, float* partial, cudaStream_t stream) {
  return norm_gradient<false>(number, x, weight, epsilon, dy, rows, columns, add, dx, dweight,
                              nullptr, partial, stream);
}

}  // namespace stockpot::cuda

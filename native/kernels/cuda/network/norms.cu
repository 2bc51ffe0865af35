// LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019): one read and one write of x up
// to kMostInRegisters columns. The variance is that of the differences from the mean.
#include "norm_row.h"
#include "rows.h"

namespace stockpot::cuda {
namespace {

template <class T>
struct Norm {
  const T* x;
  const float *weight, *bias;  // bias is nullptr for RMSNorm
  float epsilon;
  uint64_t rows, columns;
  T* out;
  bool aligned;
};

// Rows of a block.
template <int kGroup>
constexpr int kRowsOfBlock = kGroup == 32 ? 4 : 1;

template <class T, int kGroup, int kValues, bool kCentred>
__global__ void __launch_bounds__(kGroup* kRowsOfBlock<kGroup>)
    norm_kernel(const __grid_constant__ Norm<T> n) {
  using Row = NormRow<T, kGroup, kValues>;
  __shared__ float room[2 * Row::kWarpsOfGroup];  // warps that have a row each need none
  const Row row{n.columns, n.aligned, room};
  const uint64_t r = uint64_t{blockIdx.x} * kRowsOfBlock<kGroup> + Row::group();
  if (r >= n.rows) return;
  float v[kValues], w[kValues];
  row.load_row(n.x + r * n.columns, v);
  row.template normalise<kCentred>(v, n.epsilon);
  row.load_row(n.weight, w);
#pragma unroll
  for (int i = 0; i < kValues; ++i) v[i] *= w[i];
  if constexpr (kCentred) {
    row.load_row(n.bias, w);
#pragma unroll
    for (int i = 0; i < kValues; ++i) v[i] += w[i];
  }
  row.store_row(n.out + r * n.columns, v);
}

constexpr int kLongThreads = 512;

// A block has a row, and reads it thrice.
template <class T, bool kCentred>
__global__ void __launch_bounds__(kLongThreads)
    long_norm_kernel(const __grid_constant__ Norm<T> n) {
  constexpr int kCount = kWidth<T>, kStep = kLongThreads * kCount;
  __shared__ float room[2][kLongThreads / 32];
  const T* x = n.x + blockIdx.x * n.columns;
  T* out = n.out + blockIdx.x * n.columns;
  const float size = static_cast<float>(n.columns);
  const uint64_t first = threadIdx.x * kCount;
  float v[kCount], mean = 0;
  if constexpr (kCentred) {
    float total = 0;
    for (uint64_t at = first; at < n.columns; at += kStep) {
      load<kCount>(x + at, n.aligned, count_at<kCount>(at, n.columns), v);
#pragma unroll
      for (int i = 0; i < kCount; ++i) total += v[i];
    }
    mean = sum_threads<kLongThreads>(total, room[0]) / size;
  }
  float square = 0;
  for (uint64_t at = first; at < n.columns; at += kStep) {
    const int count = count_at<kCount>(at, n.columns);
    load<kCount>(x + at, n.aligned, count, v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float d = i < count ? v[i] - mean : 0.0f;
      square = fmaf(d, d, square);
    }
  }
  const float r = 1.0f / sqrtf(sum_threads<kLongThreads>(square, room[1]) / size + n.epsilon);
  for (uint64_t at = first; at < n.columns; at += kStep) {
    const int count = count_at<kCount>(at, n.columns);
    float w[kCount], b[kCount] = {};
    load<kCount>(x + at, n.aligned, count, v);
    load<kCount>(n.weight + at, n.aligned, count, w);
    if constexpr (kCentred) load<kCount>(n.bias + at, n.aligned, count, b);
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = (v[i] - mean) * r * w[i] + b[i];
    store<kCount>(out + at, n.aligned, count, v);
  }
}

// Calls f(NormShape) with what suits rows of `columns`, at most kMostInRegisters.
template <class F>
cudaError_t with_shape(uint64_t columns, const F& f) {
  if (columns <= 256) return f(NormShape<32, 8>{});
  if (columns <= 512) return f(NormShape<32, 16>{});
  if (columns <= 1024) return f(NormShape<32, 32>{});
  if (columns <= 2048) return f(NormShape<128, 16>{});
  if (columns <= 4096) return f(NormShape<128, 32>{});
  return f(NormShape<256, 32>{});
}

template <bool kCentred>
cudaError_t norm(Number number, const void* x, const float* weight, const float* bias,
                 float epsilon, uint64_t rows, uint64_t columns, void* out, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const Norm<T> n{static_cast<const T*>(x),
                    weight,
                    bias,
                    epsilon,
                    rows,
                    columns,
                    static_cast<T*>(out),
                    is_aligned(columns, kWidth<T>, x, weight, bias, out)};
    if (columns > kMostInRegisters) {
      return start(long_norm_kernel<T, kCentred>, {blocks_of(rows), kLongThreads, stream}, n);
    }
    return with_shape(columns, [&](auto shape) {
      constexpr int kGroup = decltype(shape)::group;
      return start(
          norm_kernel<T, kGroup, decltype(shape)::values, kCentred>,
          {blocks_of(divide_up(rows, kRowsOfBlock<kGroup>)), kGroup * kRowsOfBlock<kGroup>, stream},
          n);
    });
  });
}

}  // namespace

cudaError_t layer_norm(Number number, const void* x, const float* weight, const float* bias,
                       float epsilon, uint64_t rows, uint64_t columns, void* out,
                       cudaStream_t stream) {
  return norm<true>(number, x, weight, bias, epsilon, rows, columns, out, stream);
}

cudaError_t rms_norm(Number number, const void* x, const float* weight, float epsilon,
                     uint64_t rows, uint64_t columns, void* out, cudaStream_t stream) {
  return norm<false>(number, x, weight, nullptr, epsilon, rows, columns, out, stream);
}

}  // namespace stockpot::cuda

// The log-likelihood of labels under softmax(x), and its derivative: a row of the vocabulary is
// read once for the largest and the sum (Milakov & Gimelshein 2018), and once more for the
// derivative.
#include <cfloat>

#include "activations.h"
#include "pack.h"
#include "reduce.h"
#include "rows.h"

namespace stockpot::cuda {
namespace {

constexpr int kThreads = 256;

// Σ exp(x) = sum · exp(largest).
struct Exponentials {
  float largest, sum;
};

// exp(d) for d <= 0, NaN of NaN.
__device__ __forceinline__ float exp_below(float d) { return d == d ? exp_of(d) : d; }

__device__ __forceinline__ Exponentials merge(Exponentials a, Exponentials b) {
  const float largest = a.largest < b.largest ? b.largest : a.largest;
  return {largest, a.sum * exp_below(a.largest - largest) + b.sum * exp_below(b.largest - largest)};
}

// By all kThreads threads, which share a row.
template <class T>
__device__ Exponentials exponentials(const T* row, uint64_t columns, bool aligned,
                                     Exponentials* room) {
  constexpr int kCount = kWidth<T>;
  Exponentials own{-FLT_MAX, 0};
#pragma unroll 2
  for (uint64_t at = uint64_t{threadIdx.x} * kCount; at < columns; at += kThreads * kCount) {
    const int count = count_at<kCount>(at, columns);
    float v[kCount];
    load<kCount>(row + at, aligned, count, v);
    float largest = own.largest;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= count) v[i] = -INFINITY;
      largest = largest < v[i] ? v[i] : largest;
    }
    float sum = own.sum * exp_of(own.largest - largest);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += exp_below(v[i] - largest);
    own = {largest, sum};
  }
#pragma unroll
  for (int by = 16; by > 0; by /= 2) {
    const Exponentials other{__shfl_xor_sync(kAllLanes, own.largest, by),
                             __shfl_xor_sync(kAllLanes, own.sum, by)};
    own = merge(own, other);
  }
  __syncthreads();  // the room may be in use for the row before
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = own;
  __syncthreads();
  own = room[0];
#pragma unroll
  for (int w = 1; w < kThreads / 32; ++w) own = merge(own, room[w]);
  return own;
}

// A block has a class of an example.
template <class T>
__global__ void __launch_bounds__(kThreads)
    likelihood_kernel(const T* x, const int32_t* labels, uint64_t classes, uint64_t length,
                      uint64_t vocabulary, T* out, bool aligned) {
  __shared__ Exponentials room[kThreads / 32];
  labels += blockIdx.x % classes * length;
  double sum = 0;
  for (uint64_t t = 0; t < length; ++t) {
    const int32_t label = labels[t];
    if (label < 0) continue;
    const T* row = x + (blockIdx.x * length + t) * vocabulary;
    const Exponentials e = exponentials(row, vocabulary, aligned, room);
    if (threadIdx.x == 0)
      sum += to_float(row[label]) - (e.largest + log(static_cast<double>(e.sum)));
  }
  if (threadIdx.x == 0) out[blockIdx.x] = from_float<T>(static_cast<float>(sum));
}

// A block has a row of x: dx = dy · (onehot(label) - softmax(x)).
template <class T>
__global__ void __launch_bounds__(kThreads)
    likelihood_gradient_kernel(const T* x, const int32_t* labels, const T* dy, uint64_t classes,
                               uint64_t length, uint64_t vocabulary, bool add, T* dx,
                               bool aligned) {
  constexpr int kCount = kWidth<T>;
  __shared__ Exponentials room[kThreads / 32];
  const uint64_t row = blockIdx.x;
  const int64_t label = labels[row % (classes * length)];
  if (label < 0 && add) return;
  x += row * vocabulary;
  dx += row * vocabulary;
  Exponentials e{0, 1};
  float d = 0;
  if (label >= 0) {
    e = exponentials(x, vocabulary, aligned, room);
    d = to_float(dy[row / length]);
  }
  const float share = 1.0f / e.sum;
  for (uint64_t at = uint64_t{threadIdx.x} * kCount; at < vocabulary; at += kThreads * kCount) {
    const int count = count_at<kCount>(at, vocabulary);
    float v[kCount], g[kCount] = {};
    if (label >= 0) {
      load<kCount>(x + at, aligned, count, v);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float hit = static_cast<int64_t>(at) + i == label ? 1.0f : 0.0f;
        g[i] = d * (hit - exp_below(v[i] - e.largest) * share);
      }
    }
    if (add) {
      load<kCount>(dx + at, aligned, count, v);
#pragma unroll
      for (int i = 0; i < kCount; ++i) g[i] += v[i];
    }
    store<kCount>(dx + at, aligned, count, g);
  }
}

}  // namespace

cudaError_t log_likelihood(Number number, const void* x, const int32_t* labels, uint64_t classes,
                           uint64_t length, uint64_t vocabulary, uint64_t examples, void* out,
                           cudaStream_t stream) {
  if (examples * classes == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return start(likelihood_kernel<T>, {blocks_of(examples * classes), kThreads, stream},
                 static_cast<const T*>(x), labels, classes, length, vocabulary,
                 static_cast<T*>(out), is_aligned(vocabulary, kWidth<T>, x));
  });
}

cudaError_t log_likelihood_gradient(Number number, const void* x, const int32_t* labels,
                                    const void* dy, uint64_t classes, uint64_t length,
                                    uint64_t vocabulary, uint64_t examples, bool add, void* dx,
                                    cudaStream_t stream) {
  const uint64_t rows = examples * classes * length;
  if (rows == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return start(likelihood_gradient_kernel<T>, {blocks_of(rows), kThreads, stream},
                 static_cast<const T*>(x), labels, static_cast<const T*>(dy), classes, length,
                 vocabulary, add, static_cast<T*>(dx), is_aligned(vocabulary, kWidth<T>, x, dx));
  });
}

}  // namespace stockpot::cuda

// Attention as attention.h has it: chooses the kernels, and has the small ones of the backward
// pass.
#include "../start.h"
#include "attention_kernels.h"

namespace stockpot::cuda {
namespace {

constexpr int kThreads = 256, kLanes = 8;  // of a row and head

// delta = Σ over a head's columns of dout · out.
template <class T>
__global__ void __launch_bounds__(kThreads)
    delta_kernel(const __grid_constant__ Attention a, const T* out, const T* dout, bool pieces,
                 float* delta) {
  const uint64_t at = (uint64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const uint32_t lane = threadIdx.x % kLanes;
  const uint64_t count = uint64_t{a.examples} * a.groups * a.queries * a.heads;
  float sum = 0.0f;
  if (at < count) {
    // Heads of a row lie side by side.
    const T* x = out + at * a.width;
    const T* y = dout + at * a.width;
    constexpr uint32_t kPiece = 16 / sizeof(T);
    if (pieces) {
      for (uint32_t c = lane * kPiece; c < a.width; c += kLanes * kPiece) {
        const uint4 left = *reinterpret_cast<const uint4*>(x + c);
        const uint4 right = *reinterpret_cast<const uint4*>(y + c);
#pragma unroll
        for (uint32_t i = 0; i < kPiece; ++i) {
          sum = fmaf(to_float(reinterpret_cast<const T*>(&left)[i]),
                     to_float(reinterpret_cast<const T*>(&right)[i]), sum);
        }
      }
    } else {
      for (uint32_t c = lane; c < a.width; c += kLanes) {
        sum = fmaf(to_float(x[c]), to_float(y[c]), sum);
      }
    }
  }
  sum = lanes_sum<3>(sum);
  if (at >= count || lane != 0) return;
  const uint64_t head = at % a.heads, row = at / a.heads;
  delta[(row / a.queries * a.heads + head) * a.queries + row % a.queries] = sum;
}

// dtable[bucket, head] += the examples' sums, each of its parts, in order.
__global__ void __launch_bounds__(kThreads)
    table_kernel(const __grid_constant__ Attention a, const float* tables, uint32_t parts,
                 float* dtable) {
  const uint32_t at = blockIdx.x * kThreads + threadIdx.x, bucket = at % a.buckets;
  const uint32_t head = at / a.buckets;
  if (head >= a.heads) return;
  float sum = dtable[uint64_t{bucket} * a.heads + head];
  for (uint32_t e = 0; e < a.examples; ++e) {
    const float* from = tables + (uint64_t{e} * a.heads + head) * parts * a.buckets + bucket;
    float of_example = 0.0f;
    for (uint32_t p = 0; p < parts; ++p) of_example += from[uint64_t{p} * a.buckets];
    sum += of_example;
  }
  dtable[uint64_t{bucket} * a.heads + head] = sum;
}

uint64_t sum_count(const Attention& a) {
  return uint64_t{a.examples} * a.groups * a.heads * a.queries;
}

template <class T>
cudaError_t gradient_of(const Attention& a, const AttentionGradient& g, cudaStream_t stream) {
  const uint64_t count = sum_count(a), blocks = (count * kLanes + kThreads - 1) / kThreads;
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const bool pieces = aligned(g.out) && aligned(g.dout) && a.width * sizeof(T) % 16 == 0;
  if (count > 0) {
    const cudaError_t e =
        start(delta_kernel<T>, {static_cast<unsigned>(blocks), kThreads, stream}, a,
              static_cast<const T*>(g.out), static_cast<const T*>(g.dout), pieces, g.scratch);
    if (e != cudaSuccess) return e;
  }
  const bool table = g.dtable && a.table && count > 0;
  const Backward b{g, g.scratch, table ? g.scratch + count : nullptr};
  cudaError_t e;
  if constexpr (std::is_same_v<T, float>) {
    e = attention_float_gradient(a, b, stream);
  } else {
    e = attention_matrix_gradient<T>(a, b, stream);
  }
  if (e != cudaSuccess || !table) return e;
  const uint32_t sums = a.buckets * a.heads;
  return start(table_kernel, {(sums + kThreads - 1) / kThreads, kThreads, stream}, a, b.tables,
               static_cast<uint32_t>(attention_parts(a)), g.dtable);
}

}  // namespace

cudaError_t attention(const Attention& a, void* out, float* log_sums, cudaStream_t stream) {
  if (a.width == 0 || a.width > 256) return cudaErrorInvalidValue;
  return with_type(a.number, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, float>) {
      return attention_float(a, static_cast<float*>(out), log_sums, stream);
    } else {
      return attention_matrix(a, static_cast<T*>(out), log_sums, stream);
    }
  });
}

uint64_t attention_scratch(const Attention& a) {
  const uint64_t tables = uint64_t{a.examples} * a.heads * attention_parts(a) * a.buckets;
  return sum_count(a) + (a.table ? tables : 0);
}

cudaError_t attention_gradient(const Attention& a, const AttentionGradient& g,
                               cudaStream_t stream) {
  if (a.width == 0 || a.width > 256) return cudaErrorInvalidValue;
  return with_type(a.number, [&](auto type) { return gradient_of<decltype(type)>(a, g, stream); });
}

}  // namespace stockpot::cuda

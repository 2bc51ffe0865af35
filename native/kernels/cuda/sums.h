#pragma once
// The order in which the sums of a block's threads are added: over the 32 lanes of a warp as a
// tree (lanes that differ in bit 4, then 3, …, 0), then over the warps one after the other. Fixed,
// so that the same sums give the same bits on every device.
#include "../plain/arithmetic.h"
#include "tables.h"

namespace stockpot::cuda {

constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;

// What thread `thread` adds of every stride-th of the numbers [first, last) from `partial` on.
STOCKPOT_HD inline double sum_of_thread(const double* partial, uint64_t stride, uint64_t first,
                                        uint64_t last, uint32_t thread) {
  double sum = 0;
  for (uint64_t i = first + thread; i < last; i += kThreads) {
    sum = add_rn(sum, partial[i * stride]);
  }
  return sum;
}

#if defined(__CUDACC__) || defined(STOCKPOT_EMULATED)
// kCount values a lane at once: at each step a lane gives away half of its values and keeps the
// sums of the others, so that the work halves too. Addition commutes, so the bits are those of the
// tree.
template <int kCount, int kOffset = kWarp / 2>
__device__ __forceinline__ void sum_lanes(double* v, int lane) {
  if constexpr (kOffset > 0) {
    constexpr int kHalf = kCount / 2;
    if constexpr (kCount > 1) {
      const bool upper = lane & kOffset;
#pragma unroll
      for (int j = 0; j < kHalf; ++j) {
        const double keep = upper ? v[j + kHalf] : v[j];
        const double give = upper ? v[j] : v[j + kHalf];
        v[j] = __dadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, give, kOffset));
      }
      sum_lanes<kHalf, kOffset / 2>(v, lane);
    } else {
      v[0] = __dadd_rn(v[0], __shfl_xor_sync(0xFFFFFFFFu, v[0], kOffset));
      sum_lanes<1, kOffset / 2>(v, lane);
    }
  }
}

// Sums kCount (a power of two) values over the block's threads; thread t < kCount then has the sum
// of value t in *total. Ends with a barrier, so that `shared` (kWarps · kCount) can be used again.
template <int kCount>
__device__ inline void sum_block(double* v, double* shared, double* total) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  sum_lanes<kCount>(v, lane);
  // After the steps with `upper` halves: bit 4 of the lane is the highest bit of the position.
  constexpr int kKept = kCount > kWarp ? kCount / kWarp : 1;
  constexpr int kRepeat = kCount < kWarp ? kWarp / kCount : 1;
  if (lane % kRepeat == 0) {
#pragma unroll
    for (int j = 0; j < kKept; ++j) {
      shared[warp * kCount + lane / kRepeat * kKept + j] = v[j];
    }
  }
  __syncthreads();
  if (threadIdx.x < kCount) {
    double sum = shared[threadIdx.x];
    for (int w = 1; w < kWarps; ++w) sum = __dadd_rn(sum, shared[w * kCount + threadIdx.x]);
    *total = sum;
  }
  __syncthreads();
}
#endif

}  // namespace stockpot::cuda

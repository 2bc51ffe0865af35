#pragma once
// Sums over the threads that share a row, in an order that follows from their number alone: over
// the lanes of a warp as a tree, then over the warps one after the other.
#include <cstdint>

#include "../../host_device.h"

namespace stockpot::cuda {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// Every lane gets the sum; it is the same in all of them, since addition commutes.
template <class V>
__device__ __forceinline__ V sum_warp(V v) {
#pragma unroll
  for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(kAllLanes, v, by);
  return v;
}

// Every one of kThreads threads that follow each other gets the sum; where they are more than a
// warp, the whole block must come. `room`: kThreads / 32 values that are shared and that nothing
// else has used since the last barrier.
template <int kThreads, class V>
__device__ __forceinline__ V sum_threads(V v, V* room) {
  v = sum_warp(v);
  if constexpr (kThreads > 32) {
    if (threadIdx.x % 32 == 0) room[threadIdx.x % kThreads / 32] = v;
    __syncthreads();
    v = room[0];
#pragma unroll
    for (int w = 1; w < kThreads / 32; ++w) v += room[w];
  }
  return v;
}

}  // namespace stockpot::cuda

#pragma once
// A row of a norm in the registers of the threads that share it: how many they are, and how many
// elements each has, follows from the columns alone.
#include "pack.h"
#include "reduce.h"

namespace stockpot::cuda {

constexpr uint64_t kMostInRegisters = 8192;  // columns; longer rows are read again

// kGroup threads share a row, kValues elements each, in pieces that are kGroup pieces apart. Of two
// groups or more of a block that are larger than a warp, all must take part in all sums.
template <class T, int kGroup, int kValues>
struct NormRow {
  static constexpr int kCount = kWidth<T>, kPieces = kValues / kCount;
  static constexpr int kWarpsOfGroup = kGroup / 32;

  uint64_t columns;
  bool aligned;
  // Shared, the group's: four sums of its warps. Between two uses of one place there is another
  // sum, and with it a barrier.
  float* room;

  __device__ static int group() { return static_cast<int>(threadIdx.x) / kGroup; }
  __device__ uint64_t column(int piece) const {
    return (uint64_t{threadIdx.x} % kGroup + static_cast<unsigned>(piece * kGroup)) * kCount;
  }
  // What lies beyond the columns is 0.
  template <class From>
  __device__ __forceinline__ void load_row(const From* row, float* v) const {
    if (aligned) {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        if (column(p) < columns) {
          load_pack<kCount>(row + column(p), v + p * kCount);
        } else {
#pragma unroll
          for (int i = 0; i < kCount; ++i) v[p * kCount + i] = 0;
        }
      }
    } else {
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        load_some<kCount>(row + column(p), count_at<kCount>(column(p), columns), v + p * kCount);
    }
  }
  template <class To>
  __device__ __forceinline__ void store_row(To* row, const float* v) const {
    if (aligned) {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        if (column(p) < columns) store_pack<kCount>(row + column(p), v + p * kCount);
      }
    } else {
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        store_some<kCount>(row + column(p), count_at<kCount>(column(p), columns), v + p * kCount);
    }
  }
  // `which` of the sums of a row this is.
  __device__ __forceinline__ float sum(float v, int which) const {
    return sum_threads<kGroup>(v, room + which * kWarpsOfGroup);
  }

  // The third and the fourth sum, for one barrier.
  __device__ __forceinline__ void sum_both(float& a, float& b) const {
    a = sum_warp(a);
    b = sum_warp(b);
    if constexpr (kGroup > 32) {
      float* places = room + 2 * kWarpsOfGroup;
      if (threadIdx.x % 32 == 0) {
        places[threadIdx.x % kGroup / 32] = a;
        places[kWarpsOfGroup + threadIdx.x % kGroup / 32] = b;
      }
      __syncthreads();
      a = places[0];
      b = places[kWarpsOfGroup];
#pragma unroll
      for (int w = 1; w < kWarpsOfGroup; ++w) {
        a += places[w];
        b += places[kWarpsOfGroup + w];
      }
    }
  }

  // v becomes (v - mean) / √(variance + ε), or, not kCentred, v / √(mean(v²) + ε); zeros beyond the
  // columns. Returns what it was divided by, inverted.
  template <bool kCentred>
  __device__ __forceinline__ float normalise(float* v, float epsilon) const {
    const float n = static_cast<float>(columns);
    if constexpr (kCentred) {
      float total = 0;
#pragma unroll
      for (int i = 0; i < kValues; ++i) total += v[i];
      const float mean = sum(total, 0) / n;
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        const int count = count_at<kCount>(column(p), columns);
        if (count == kCount) {
#pragma unroll
          for (int i = 0; i < kCount; ++i) v[p * kCount + i] -= mean;
        } else {
#pragma unroll
          for (int i = 0; i < kCount; ++i) {
            if (i < count) v[p * kCount + i] -= mean;
          }
        }
      }
    }
    float square = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i) square = fmaf(v[i], v[i], square);
    const float r = 1.0f / sqrtf(sum(square, 1) / n + epsilon);
#pragma unroll
    for (int i = 0; i < kValues; ++i) v[i] *= r;
    return r;
  }
};

template <int kGroup, int kValues>
struct NormShape {
  static constexpr int group = kGroup, values = kValues;
};

}  // namespace stockpot::cuda

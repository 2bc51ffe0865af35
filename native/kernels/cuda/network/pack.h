#pragma once
// Rows of a network's values in pieces of sixteen bytes: what a thread reads and writes at a time.
// Where a row does not begin at a multiple of sixteen bytes, the same elements go one by one, so
// that who adds what does not depend on where a value lies.
#include "../start.h"
#include "number.h"

namespace stockpot::cuda {

// Elements of a piece.
template <class T>
constexpr int kWidth = 16 / sizeof(T);

__device__ __forceinline__ void unpack(uint32_t word, float* v, __nv_bfloat16) {
  v[0] = __uint_as_float(word << 16);
  v[1] = __uint_as_float(word & 0xFFFF0000u);
}
__device__ __forceinline__ void unpack(uint32_t word, float* v, __half) {
  v[0] = __half2float(__ushort_as_half(static_cast<unsigned short>(word & 0xFFFF)));
  v[1] = __half2float(__ushort_as_half(static_cast<unsigned short>(word >> 16)));
}
__device__ __forceinline__ uint32_t pack(const float* v, __nv_bfloat16) {
#if defined(STOCKPOT_EMULATED)
  return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(v[1]))) << 16 |
         __bfloat16_as_ushort(__float2bfloat16_rn(v[0]));
#else
  const __nv_bfloat162 both = __floats2bfloat162_rn(v[0], v[1]);
  return *reinterpret_cast<const uint32_t*>(&both);
#endif
}
__device__ __forceinline__ uint32_t pack(const float* v, __half) {
#if defined(STOCKPOT_EMULATED)
  return static_cast<uint32_t>(__half_as_ushort(__float2half_rn(v[1]))) << 16 |
         __half_as_ushort(__float2half_rn(v[0]));
#else
  const __half2 both = __floats2half2_rn(v[0], v[1]);
  return *reinterpret_cast<const uint32_t*>(&both);
#endif
}

// kCount elements, a multiple of kWidth, from an aligned place.
template <int kCount, class T>
__device__ __forceinline__ void load_pack(const T* from, float* v) {
#pragma unroll
  for (int i = 0; i < kCount; i += kWidth<T>) {
    const uint4 w = *reinterpret_cast<const uint4*>(from + i);
    if constexpr (sizeof(T) == 4) {
      v[i] = __uint_as_float(w.x);
      v[i + 1] = __uint_as_float(w.y);
      v[i + 2] = __uint_as_float(w.z);
      v[i + 3] = __uint_as_float(w.w);
    } else {
      unpack(w.x, v + i, T{});
      unpack(w.y, v + i + 2, T{});
      unpack(w.z, v + i + 4, T{});
      unpack(w.w, v + i + 6, T{});
    }
  }
}

template <int kCount, class T>
__device__ __forceinline__ void store_pack(T* to, const float* v) {
#pragma unroll
  for (int i = 0; i < kCount; i += kWidth<T>) {
    uint4 w;
    if constexpr (sizeof(T) == 4) {
      w = make_uint4(__float_as_uint(v[i]), __float_as_uint(v[i + 1]), __float_as_uint(v[i + 2]),
                     __float_as_uint(v[i + 3]));
    } else {
      w = make_uint4(pack(v + i, T{}), pack(v + i + 2, T{}), pack(v + i + 4, T{}),
                     pack(v + i + 6, T{}));
    }
    *reinterpret_cast<uint4*>(to + i) = w;
  }
}

// The first `count` of kCount elements one by one; the others are 0.
template <int kCount, class T>
__device__ __forceinline__ void load_some(const T* from, int count, float* v) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = i < count ? to_float(from[i]) : 0.0f;
}
template <int kCount, class T>
__device__ __forceinline__ void store_some(T* to, int count, const float* v) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) to[i] = from_float<T>(v[i]);
  }
}

template <int kCount, class T>
__device__ __forceinline__ void load(const T* from, bool aligned, int count, float* v) {
  if (aligned) {
    load_pack<kCount>(from, v);
  } else {
    load_some<kCount>(from, count, v);
  }
}
template <int kCount, class T>
__device__ __forceinline__ void store(T* to, bool aligned, int count, const float* v) {
  if (aligned) {
    store_pack<kCount>(to, v);
  } else {
    store_some<kCount>(to, count, v);
  }
}

// Elements of a piece at `at` that are within `columns`.
template <int kCount>
__device__ __forceinline__ int count_at(uint64_t at, uint64_t columns) {
  return at >= columns ? 0 : columns - at < kCount ? static_cast<int>(columns - at) : kCount;
}

// Whether all places (nullptr is one) are aligned and rows of `columns` consist of whole pieces of
// `width`.
template <class... P>
bool is_aligned(uint64_t columns, int width, const P*... places) {
  return columns % static_cast<uint64_t>(width) == 0 &&
         ((reinterpret_cast<uintptr_t>(places) % 16 == 0) && ...);
}

inline uint64_t divide_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
inline unsigned blocks_of(uint64_t n) { return static_cast<unsigned>(n); }

// What goes through a matrix without adding over rows: blocks of 32 pieces by 8 rows, each thread
// kRows of them.
constexpr unsigned kLanes = 32, kRowLanes = 8;
constexpr int kRows = 4;
struct Tile {
  uint64_t row;  // the thread's first; the others follow kRowLanes apart
  uint64_t column;
};
template <int kCount>
__device__ __forceinline__ Tile tile_of_thread(int rows_each) {
  return {uint64_t{blockIdx.x} * kRowLanes * rows_each + threadIdx.y,
          (uint64_t{blockIdx.y} * kLanes + threadIdx.x) * kCount};
}
// Rows that a thread has: few where the matrix has so few that the device would be idle.
inline int rows_of_thread(uint64_t rows) { return rows < 2048 ? 1 : kRows; }
inline Start tiles(uint64_t rows, uint64_t columns, int count, int rows_each, cudaStream_t stream) {
  return {dim3(blocks_of(divide_up(rows, uint64_t{kRowLanes} * rows_each)),
               blocks_of(divide_up(columns, uint64_t{kLanes} * count))),
          dim3(kLanes, kRowLanes), stream};
}

}  // namespace stockpot::cuda

#pragma once
// Tiles of float32 in shared memory, for attention without tensor cores. A block is kAcross threads
// across by some down; thread (x, y) has rows y, y + down, …, and of products columns x, x +
// kAcross, …, so that the threads of a row are half a warp. Every sum is a chain of fused
// multiply-adds in order, as on the processor.
#include "attention_kernels.h"
#include "warp_matrix.h"

namespace stockpot::cuda {

constexpr int kAcross = 16;

// Pairs of columns are dealt out to kAcross threads.
constexpr int even_width(int width) { return (width + 31) / 32 * 32; }
constexpr int float_stride(int columns) { return columns + 4; }  // 16 bytes: other banks

inline bool in_float_pieces(const void* p, uint64_t ld) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && ld % 4 == 0;
}

struct FloatRows {
  const float* data;
  uint64_t ld;
  uint32_t width;
  bool pieces;
};

// Starts the copy of `there` rows to a tile of kRows, with zeros behind them and beyond the width.
template <int kRows, int kWidth, int kThreads>
__device__ __forceinline__ void load_floats(float* to, const FloatRows& from, uint32_t first,
                                            uint32_t there) {
  constexpr int kPieces = kWidth / 4;
  const float* base = from.data + uint64_t{first} * from.ld;
  for (uint32_t i = threadIdx.x; i < kRows * kPieces; i += kThreads) {
    const uint32_t row = i / kPieces, column = i % kPieces * 4;
    float* piece = to + row * float_stride(kWidth) + column;
    const float* source = base + row * from.ld + column;
    const bool inside = row < there && column < from.width;
    if (from.pieces) {
      copy_async(piece, inside ? source : from.data, inside);
    } else {
      for (uint32_t c = 0; c < 4; ++c) {
        piece[c] = row < there && column + c < from.width ? source[c] : 0.0f;
      }
    }
  }
}

// s[r][c] = Σ over the columns of a's row y + kDown · r and b's row x + kAcross · c.
template <int kWidth, int kDown, int kR, int kC>
__device__ __forceinline__ void float_products(const float* a, const float* b, uint32_t x,
                                               uint32_t y, float (&s)[kR][kC]) {
  constexpr int kStep = float_stride(kWidth);
#pragma unroll
  for (int r = 0; r < kR; ++r) {
#pragma unroll
    for (int c = 0; c < kC; ++c) s[r][c] = 0.0f;
  }
#pragma unroll 4
  for (int k = 0; k < kWidth; k += 4) {
    float4 left[kR], right[kC];
#pragma unroll
    for (int r = 0; r < kR; ++r) {
      left[r] = *reinterpret_cast<const float4*>(a + (y + kDown * r) * kStep + k);
    }
#pragma unroll
    for (int c = 0; c < kC; ++c) {
      right[c] = *reinterpret_cast<const float4*>(b + (x + kAcross * c) * kStep + k);
    }
#pragma unroll
    for (int r = 0; r < kR; ++r) {
#pragma unroll
      for (int c = 0; c < kC; ++c) {
        float sum = fmaf(left[r].x, right[c].x, s[r][c]);
        sum = fmaf(left[r].y, right[c].y, sum);
        sum = fmaf(left[r].z, right[c].z, sum);
        s[r][c] = fmaf(left[r].w, right[c].w, sum);
      }
    }
  }
}

// sum[r][2c], [2c + 1] += Σ over j of p's row y + kDown · r, column j, times b's row j, columns
// 2x + 32c and the next.
template <int kWidth, int kColumns, int kDown, int kR>
__device__ __forceinline__ void add_weighted(const float* p, const float* b, uint32_t x, uint32_t y,
                                             float (&sum)[kR][kWidth / kAcross]) {
#pragma unroll 1
  for (int j = 0; j < kColumns; j += 4) {
    float weight[kR][4];
#pragma unroll
    for (int r = 0; r < kR; ++r) {
      const float4 four =
          *reinterpret_cast<const float4*>(p + (y + kDown * r) * float_stride(kColumns) + j);
      weight[r][0] = four.x, weight[r][1] = four.y, weight[r][2] = four.z, weight[r][3] = four.w;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int c = 0; c < kWidth / 32; ++c) {
        const float2 v =
            *reinterpret_cast<const float2*>(b + (j + i) * float_stride(kWidth) + 2 * x + 32 * c);
#pragma unroll
        for (int r = 0; r < kR; ++r) {
          sum[r][2 * c] = fmaf(weight[r][i], v.x, sum[r][2 * c]);
          sum[r][2 * c + 1] = fmaf(weight[r][i], v.y, sum[r][2 * c + 1]);
        }
      }
    }
  }
}

// A thread's columns of a row, times `by`, added to what is there where `add`.
template <int kWidth>
__device__ __forceinline__ void store_floats(const float (&sum)[kWidth / kAcross], float by,
                                             uint32_t x, uint32_t width, bool add, float* to) {
#pragma unroll
  for (int i = 0; i < kWidth / kAcross; ++i) {
    const uint32_t column = 2 * x + 32 * (i / 2) + i % 2;
    if (column >= width) continue;
    const float v = __fmul_rn(sum[i], by);
    to[column] = add ? __fadd_rn(to[column], v) : v;
  }
}

// exp(d) for d ≤ 0, 0 below -87; relative error below 1e-7: the processor's (ops_vector.h).
__device__ __forceinline__ float exp_below(float d) {
  if (d < -87.0f) return 0.0f;
  const float n = rintf(__fmul_rn(d, 1.44269504f));
  const float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, d));
  float p = fmaf(0.001395621569827199f, r, 0.008375232107937336f);
  p = fmaf(p, r, 0.04166607931256294f);
  p = fmaf(p, r, 0.16666413843631744f);
  p = fmaf(p, r, 0.5f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  return n == n ? __fmul_rn(p, __int_as_float((static_cast<int>(n) + 127) << 23)) : n;
}

}  // namespace stockpot::cuda

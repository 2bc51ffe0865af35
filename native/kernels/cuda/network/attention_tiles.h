#pragma once
// Tiles of two-byte numbers in shared memory, for attention on tensor cores: how they get there,
// how a warp takes fragments of them, and how its sums get back. Rows are 16 bytes longer than
// kWidth, so that the eight rows that ldmatrix reads at a time begin in different banks.
#include "attention_kernels.h"
#include "warp_matrix.h"

namespace stockpot::cuda {

template <int kWidth>
constexpr int kStride = kWidth + 8;
template <int kWidth>
constexpr size_t tile_bytes(int rows) {
  return size_t{2} * rows * kStride<kWidth>;
}

// Whether rows can be read 16 bytes at a time.
inline bool in_pieces(const void* p, uint64_t ld) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && ld % 8 == 0;
}

// A matrix of rows of a head.
template <class T>
struct HeadRows {
  const T* data;
  uint64_t ld;
  uint32_t width;
  bool pieces;
};

// Starts the copy of `there` rows (no more than kRows) to a tile, with zeros behind them up to the
// next multiple of 16, and beyond the width.
template <int kRows, int kWidth, int kThreads, class T>
__device__ __forceinline__ void load_tile(T* to, const HeadRows<T>& from, uint32_t first,
                                          uint32_t there) {
  constexpr int kPieces = kWidth / 8, kCount = kRows * kPieces;
  const uint32_t padded = (there + 15) / 16 * 16;
  const T* base = from.data + uint64_t{first} * from.ld;
#pragma unroll
  for (int n = 0; n < (kCount + kThreads - 1) / kThreads; ++n) {
    const uint32_t i = n * kThreads + threadIdx.x, row = i / kPieces, column = i % kPieces * 8;
    if (kCount % kThreads && i >= kCount) break;
    if (row >= padded) break;
    T* piece = to + row * kStride<kWidth> + column;
    const T* source = base + row * from.ld + column;
    const bool inside = row < there && column < from.width;
    if (from.pieces) {
      copy_async(piece, inside ? source : from.data, inside);
    } else {
      for (uint32_t c = 0; c < 8; ++c) {
        piece[c] = row < there && column + c < from.width ? source[c] : from_float<T>(0.0f);
      }
    }
  }
  __syncwarp();  // what follows may be an instruction of the whole warp
}

// Where a lane's row of load_matrices is, for a fragment at the tile's first row and column: of an
// A, and of two B's of a tile whose rows are B's (transposed: load_transposed);
template <int kWidth>
__device__ __forceinline__ uint32_t lane_by_rows(uint32_t lane) {
  return lane % 16 * kStride<kWidth> + lane / 16 * 8;
}
// of two B's of a tile whose rows are B's columns.
template <int kWidth>
__device__ __forceinline__ uint32_t lane_by_columns(uint32_t lane) {
  return (lane / 16 * 8 + lane % 8) * kStride<kWidth> + lane / 8 % 2 * 8;
}

// sum[kColumns / 8] += A · Bᵀ, A being the 16 rows at `a`, B kColumns rows at `b` (both of the
// lane: lane_by_rows, lane_by_columns), of which the first `columns` count.
template <int kWidth, int kColumns, class T>
__device__ __forceinline__ void multiply_rows(const T* a, const T* b, uint32_t columns,
                                              float (&sum)[kColumns / 8][4]) {
#pragma unroll
  for (int k = 0; k < kWidth; k += 16) {
    uint32_t left[4];
    load_matrices(a + k, left);
#pragma unroll
    for (int n = 0; n < kColumns; n += 16) {
      if (n >= static_cast<int>(columns)) break;
      uint32_t right[4];
      load_matrices(b + n * kStride<kWidth> + k, right);
      multiply_add<T>(sum[n / 8], left, right[0], right[1]);
      multiply_add<T>(sum[n / 8 + 1], left, right[2], right[3]);
    }
  }
}

// Sixteen columns of sums as an A.
template <class T>
__device__ __forceinline__ void pack_columns(const float (&left)[4], const float (&right)[4],
                                             uint32_t (&to)[4]) {
  to[0] = pack<T>(left[0], left[1]);
  to[1] = pack<T>(left[2], left[3]);
  to[2] = pack<T>(right[0], right[1]);
  to[3] = pack<T>(right[2], right[3]);
}

// sum += A · B, B being the 16 rows at `b` (of the lane: lane_by_rows).
template <int kWidth, class T>
__device__ __forceinline__ void multiply_columns(const uint32_t (&a)[4], const T* b,
                                                 float (&sum)[kWidth / 8][4]) {
#pragma unroll
  for (int n = 0; n < kWidth; n += 16) {
    uint32_t right[4];
    load_transposed(b + n, right);
    multiply_add<T>(sum[n / 8], a, right[0], right[1]);
    multiply_add<T>(sum[n / 8 + 1], a, right[2], right[3]);
  }
}

// Rows of a head that are written.
template <class T>
struct HeadOutput {
  T* data;  // row 0 of the group
  uint64_t ld;
  uint32_t width, rows;
  bool pieces, add;
};

// Writes a warp's sums of 16 rows, the first of which is `first`: rounded, through its own 16 rows
// of shared memory, so that it is done 16 bytes at a time.
template <int kWidth, class T>
__device__ __forceinline__ void store_sums(float (&sum)[kWidth / 8][4], T* room, uint32_t first,
                                           const HeadOutput<T>& to) {
  const uint32_t lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  if (to.add) {
#pragma unroll
    for (int n = 0; n < kWidth; n += 8) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t row = first + g + i / 2 * 8, column = n + 2 * t + i % 2;
        if (row >= to.rows || column >= to.width) continue;
        sum[n / 8][i] = __fadd_rn(to_float(to.data[row * to.ld + column]), sum[n / 8][i]);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (int n = 0; n < kWidth; n += 8) {
    uint32_t* at = reinterpret_cast<uint32_t*>(room + g * kStride<kWidth> + n + 2 * t);
    at[0] = pack<T>(sum[n / 8][0], sum[n / 8][1]);
    at[8 * kStride<kWidth> / 2] = pack<T>(sum[n / 8][2], sum[n / 8][3]);
  }
  __syncwarp();
  constexpr int kPieces = kWidth / 8;
#pragma unroll
  for (int n = 0; n < 16 * kPieces / kWarp; ++n) {
    const uint32_t i = n * kWarp + lane, row = i / kPieces, column = i % kPieces * 8;
    if (first + row >= to.rows || column >= to.width) continue;
    const T* from = room + row * kStride<kWidth> + column;
    T* out = to.data + (first + row) * to.ld + column;
    if (to.pieces) {
      *reinterpret_cast<uint4*>(out) = *reinterpret_cast<const uint4*>(from);
    } else {
      for (uint32_t c = 0; c < 8 && column + c < to.width; ++c) out[c] = from[c];
    }
  }
}

// 2^x with a relative error below 2^-22 (PTX ISA, ex2.approx); 0 far below.
__device__ __forceinline__ float exp2_fast(float x) {
#if defined(STOCKPOT_EMULATED)
  return exp2f(x);
#elif defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

}  // namespace stockpot::cuda

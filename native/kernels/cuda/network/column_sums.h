#pragma once
// Sums over the rows of a matrix, column by column, in two steps: parts of the rows, cut by their
// number alone, are summed in float32 by chains of at most kMostRowsOfPart, and the parts' sums in
// float64.
#include "pack.h"
#include "reduce.h"
#include "rows.h"

namespace stockpot::cuda {

// Part p has rows [p · rows_each, (p + 1) · rows_each), as far as there are.
struct Parts {
  uint64_t count, rows_each;
};
constexpr uint64_t kMostRowsOfPart = 1024;
constexpr uint64_t kUsualParts = 256;  // two for a multiprocessor; more where rows are very many
// At most 2 · parts_of(more rows).count.
inline Parts parts_of(uint64_t rows) {
  uint64_t each = divide_up(rows, kUsualParts * kRowLanes) * kRowLanes;
  each = each > kMostRowsOfPart ? kMostRowsOfPart : each < kRowLanes ? kRowLanes : each;
  return {divide_up(rows, each), each};
}

// to[c] += Σ from[r · ld + c].
struct ColumnSums {
  const void* from;
  uint64_t ld, rows, columns;
  float* to;
  float* partial;
  uint64_t room;  // floats in `partial`; as it follows from sizes alone, so may the parts
};
cudaError_t column_sums(Number, const ColumnSums&, cudaStream_t);

// to[i][c] += Σ over parts of partial[part][i][c], i < 2 (`second` nullptr: 1).
cudaError_t sum_parts(const float* partial, uint64_t parts, uint64_t columns, float* first,
                      float* second, cudaStream_t);

// Of a block of kLanes by kRowLanes threads: those of threadIdx.y = 0 get the sums of all that have
// their threadIdx.x, in order. `room`: kCount · kLanes · kRowLanes floats, free until then.
template <int kCount>
__device__ __forceinline__ void sum_row_lanes(float* sum, float* room) {
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    room[(threadIdx.y * kCount + static_cast<unsigned>(i)) * kLanes + threadIdx.x] = sum[i];
  __syncthreads();
  if (threadIdx.y > 0) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (unsigned r = 1; r < kRowLanes; ++r)
      sum[i] += room[(r * kCount + static_cast<unsigned>(i)) * kLanes + threadIdx.x];
  }
}

}  // namespace stockpot::cuda

// Rows that are copied from elsewhere, and the mean of rows.
#include "gather.h"
#include "pack.h"

namespace stockpot::cuda {
namespace {

// Each gives where a row of the output comes from; called by all lanes of a warp for one row.
template <class T>
struct FromTable {
  Ids ids;
  const T* table;
  uint64_t table_rows, each, columns;
  __device__ const T* operator()(uint64_t row) const {
    return table + id_of_row(ids, row, each, table_rows) * columns;
  }
};
template <class T>
struct FromBehind {
  const T *x, *row;
  uint64_t each, columns;
  __device__ const T* operator()(uint64_t r) const {
    const uint64_t at = r % each;
    return at == 0 ? row : x + (r / each * (each - 1) + at - 1) * columns;
  }
};
template <class T>
struct FromIndex {
  const T* x;
  uint64_t index, each, columns;
  __device__ const T* operator()(uint64_t example) const {
    return x + (example * each + index) * columns;
  }
};
template <class T>
struct FromId {
  const T* x;
  const int32_t* ids;
  int64_t equal;
  uint64_t each, columns;
  __device__ const T* operator()(uint64_t example) const {
    return x + (example * each + find_row(ids + example * each, equal, each)) * columns;
  }
};

// A warp copies a row, or kLanes pieces of it.
template <class T, class From>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    gather_kernel(const __grid_constant__ From from, uint64_t rows, uint64_t columns, T* out,
                  bool aligned) {
  constexpr int kCount = kWidth<T>;
  const Tile tile = tile_of_thread<kCount>(1);
  if (tile.row >= rows) return;
  const T* row = from(tile.row);
  const int count = count_at<kCount>(tile.column, columns);
  if (count == 0) return;
  float v[kCount];
  load<kCount>(row + tile.column, aligned, count, v);
  store<kCount>(out + tile.row * columns + tile.column, aligned, count, v);
}

template <class T, class From>
cudaError_t gather(const From& from, uint64_t rows, uint64_t columns, T* out, bool aligned,
                   cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return start(gather_kernel<T, From>, tiles(rows, columns, kWidth<T>, 1, stream), from, rows,
               columns, out, aligned);
}

// A block has kLanes pieces of an example; its rows of threads take turns at the example's rows.
template <class T>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    mean_rows_kernel(const T* x, uint64_t from, uint64_t each, uint64_t columns, T* out,
                     bool aligned) {
  constexpr int kCount = kWidth<T>;
  __shared__ float room[kRowLanes][kLanes * kCount];
  const uint64_t column = (uint64_t{blockIdx.y} * kLanes + threadIdx.x) * kCount;
  const int count = count_at<kCount>(column, columns);
  const T* rows = x + blockIdx.x * each * columns + column;
  float sum[kCount] = {};
  if (count > 0) {
#pragma unroll 4
    for (uint64_t r = from + threadIdx.y; r < each; r += kRowLanes) {
      float v[kCount];
      load<kCount>(rows + r * columns, aligned, count, v);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += v[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) room[threadIdx.y][i * kLanes + threadIdx.x] = sum[i];
  __syncthreads();
  if (threadIdx.y > 0 || count == 0) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (unsigned r = 1; r < kRowLanes; ++r) sum[i] += room[r][i * kLanes + threadIdx.x];
    sum[i] /= static_cast<float>(each - from);
  }
  store<kCount>(out + blockIdx.x * columns + column, aligned, count, sum);
}

}  // namespace

cudaError_t embedding(Number number, const Ids& ids, const void* table, uint64_t table_rows,
                      uint64_t each, uint64_t rows, uint64_t columns, void* out,
                      cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return gather(FromTable<T>{ids, static_cast<const T*>(table), table_rows, each, columns}, rows,
                  columns, static_cast<T*>(out), is_aligned(columns, kWidth<T>, table, out),
                  stream);
  });
}

cudaError_t prepend_row(Number number, const void* x, const void* row, uint64_t each, uint64_t rows,
                        uint64_t columns, void* out, cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return gather(
        FromBehind<T>{static_cast<const T*>(x), static_cast<const T*>(row), each, columns}, rows,
        columns, static_cast<T*>(out), is_aligned(columns, kWidth<T>, x, row, out), stream);
  });
}

cudaError_t select_row(Number number, const void* x, uint64_t index, uint64_t each,
                       uint64_t examples, uint64_t columns, void* out, cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return gather(FromIndex<T>{static_cast<const T*>(x), index, each, columns}, examples, columns,
                  static_cast<T*>(out), is_aligned(columns, kWidth<T>, x, out), stream);
  });
}

cudaError_t select_row_by_id(Number number, const void* x, const int32_t* ids, int64_t equal,
                             uint64_t each, uint64_t examples, uint64_t columns, void* out,
                             cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return gather(FromId<T>{static_cast<const T*>(x), ids, equal, each, columns}, examples, columns,
                  static_cast<T*>(out), is_aligned(columns, kWidth<T>, x, out), stream);
  });
}

cudaError_t mean_rows(Number number, const void* x, uint64_t from, uint64_t each, uint64_t examples,
                      uint64_t columns, void* out, cudaStream_t stream) {
  if (examples == 0) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const dim3 blocks(blocks_of(examples), blocks_of(divide_up(columns, kLanes * kWidth<T>)));
    return start(mean_rows_kernel<T>, {blocks, dim3(kLanes, kRowLanes), stream},
                 static_cast<const T*>(x), from, each, columns, static_cast<T*>(out),
                 is_aligned(columns, kWidth<T>, x, out));
  });
}

}  // namespace stockpot::cuda

// The derivatives of rows that were taken from elsewhere: each row of dx has one source in dy, or
// none.
#include "column_sums.h"
#include "gather.h"

namespace stockpot::cuda {
namespace {

// Each gives where the gradient of a row of x lies; called by all lanes of a warp for one row.
template <class T>
struct ToIndex {
  const T* dy;
  uint64_t index, each, columns;
  __device__ const T* operator()(uint64_t row) const {
    return row % each == index ? dy + row / each * columns : nullptr;
  }
};
template <class T>
struct ToId {
  const T* dy;
  const int32_t* ids;
  int64_t equal;
  uint64_t each, columns;
  __device__ const T* operator()(uint64_t row) const {
    const uint64_t example = row / each;
    const uint64_t found = find_row(ids + example * each, equal, each);
    return row % each == found ? dy + example * columns : nullptr;
  }
};
template <class T>
struct ToMean {
  const T* dy;
  uint64_t from, each, columns;
  __device__ const T* operator()(uint64_t row) const {
    return row % each >= from ? dy + row / each * columns : nullptr;
  }
};
// `each`: rows of dy.
template <class T>
struct ToBehind {
  const T* dy;
  uint64_t each, columns;
  __device__ const T* operator()(uint64_t row) const {
    return dy + (row / (each - 1) * each + row % (each - 1) + 1) * columns;
  }
};

template <class T, class From>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    spread_kernel(const __grid_constant__ From from, float share, uint64_t rows, uint64_t columns,
                  bool add, T* dx, bool aligned) {
  constexpr int kCount = kWidth<T>;
  const Tile tile = tile_of_thread<kCount>(1);
  if (tile.row >= rows) return;
  const T* row = from(tile.row);
  const int count = count_at<kCount>(tile.column, columns);
  if (count == 0 || (!row && add)) return;
  T* to = dx + tile.row * columns + tile.column;
  float v[kCount] = {}, there[kCount] = {};
  if (row) load<kCount>(row + tile.column, aligned, count, v);
  if (add) load<kCount>(to, aligned, count, there);
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = there[i] + v[i] / share;
  store<kCount>(to, aligned, count, v);
}

template <class T, class From>
cudaError_t spread(const From& from, float share, uint64_t rows, uint64_t columns, bool add, T* dx,
                   cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return start(spread_kernel<T, From>, tiles(rows, columns, kWidth<T>, 1, stream), from, share,
               rows, columns, add, dx, is_aligned(columns, kWidth<T>, from.dy, dx));
}

}  // namespace

cudaError_t select_row_gradient(Number number, const void* dy, uint64_t index, uint64_t each,
                                uint64_t examples, uint64_t columns, bool add, void* dx,
                                cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return spread(ToIndex<T>{static_cast<const T*>(dy), index, each, columns}, 1, examples * each,
                  columns, add, static_cast<T*>(dx), stream);
  });
}

cudaError_t select_row_by_id_gradient(Number number, const void* dy, const int32_t* ids,
                                      int64_t equal, uint64_t each, uint64_t examples,
                                      uint64_t columns, bool add, void* dx, cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return spread(ToId<T>{static_cast<const T*>(dy), ids, equal, each, columns}, 1, examples * each,
                  columns, add, static_cast<T*>(dx), stream);
  });
}

cudaError_t mean_rows_gradient(Number number, const void* dy, uint64_t from, uint64_t each,
                               uint64_t examples, uint64_t columns, bool add, void* dx,
                               cudaStream_t stream) {
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return spread(ToMean<T>{static_cast<const T*>(dy), from, each, columns},
                  static_cast<float>(each - from), examples * each, columns, add,
                  static_cast<T*>(dx), stream);
  });
}

cudaError_t prepend_row_gradient(Number number, const void* dy, uint64_t each, uint64_t rows,
                                 uint64_t columns, bool add, void* dx, float* drow, float* partial,
                                 cudaStream_t stream) {
  if (drow) {
    const cudaError_t e = column_sums(
        number,
        {dy, each * columns, rows / each, columns, drow, partial, partial_floats(rows, columns)},
        stream);
    if (e != cudaSuccess) return e;
  }
  if (!dx) return cudaSuccess;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    return spread(ToBehind<T>{static_cast<const T*>(dy), each, columns}, 1,
                  rows / each * (each - 1), columns, add, static_cast<T*>(dx), stream);
  });
}

}  // namespace stockpot::cuda

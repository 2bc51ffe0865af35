#include "column_sums.h"

namespace stockpot::cuda {
namespace {

// A block has kLanes pieces of a part's rows (parts along y: few, columns many); its rows of
// threads take turns at the rows.
template <class T>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    column_sums_kernel(const T* from, uint64_t ld, uint64_t rows, uint64_t columns,
                       uint64_t rows_each, float* to, bool adds, bool aligned) {
  constexpr int kCount = kWidth<T>;
  __shared__ float room[kRowLanes * kLanes * kCount];
  const uint64_t column = (uint64_t{blockIdx.x} * kLanes + threadIdx.x) * kCount;
  const int count = count_at<kCount>(column, columns);
  const uint64_t first = blockIdx.y * rows_each;
  const uint64_t last = first + rows_each < rows ? first + rows_each : rows;
  float sum[kCount] = {};
  if (count > 0) {
#pragma unroll 4
    for (uint64_t r = first + threadIdx.y; r < last; r += kRowLanes) {
      float v[kCount];
      load<kCount>(from + r * ld + column, aligned, count, v);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += v[i];
    }
  }
  sum_row_lanes<kCount>(sum, room);
  if (threadIdx.y > 0 || count == 0) return;
  to += blockIdx.y * columns + column;
  if (adds) {
    float v[kCount];
    load<kCount>(to, aligned, count, v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum[i] += v[i];
  }
  store<kCount>(to, aligned, count, sum);
}

constexpr unsigned kPartLanes = 16;

__global__ void __launch_bounds__(kLanes* kPartLanes)
    sum_parts_kernel(const float* partial, uint64_t parts, uint64_t columns, float* first,
                     float* second) {
  __shared__ double room[kPartLanes][kLanes];
  const uint64_t column = uint64_t{blockIdx.x} * kLanes + threadIdx.x;
  const uint64_t stride = gridDim.y * columns;
  partial += blockIdx.y * columns + column;
  double sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (uint64_t p = threadIdx.y; p < parts; p += kPartLanes) sum += partial[p * stride];
  }
  room[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  float* to = blockIdx.y == 0 ? first : second;
  if (threadIdx.y > 0 || column >= columns || !to) return;
  for (unsigned p = 1; p < kPartLanes; ++p) sum += room[p][threadIdx.x];
  to[column] = static_cast<float>(to[column] + sum);
}

}  // namespace

cudaError_t sum_parts(const float* partial, uint64_t parts, uint64_t columns, float* first,
                      float* second, cudaStream_t stream) {
  const dim3 blocks(blocks_of(divide_up(columns, kLanes)), second ? 2 : 1);
  return start(sum_parts_kernel, {blocks, dim3(kLanes, kPartLanes), stream}, partial, parts,
               columns, first, second);
}

cudaError_t column_sums(Number number, const ColumnSums& s, cudaStream_t stream) {
  if (s.rows == 0) return cudaSuccess;
  Parts parts = parts_of(s.rows);
  const uint64_t most = s.room / s.columns;
  if (parts.count > most) {
    const uint64_t count = most > 0 ? most : 1;
    parts.rows_each = divide_up(s.rows, count);
    parts.count = divide_up(s.rows, parts.rows_each);
  }
  const bool one = parts.count == 1;
  float* to = one ? s.to : s.partial;
  const cudaError_t e = with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const dim3 blocks(blocks_of(divide_up(s.columns, kLanes * kWidth<T>)), blocks_of(parts.count));
    const bool aligned = is_aligned(s.columns, kWidth<T>, s.from, to) && s.ld % kWidth<T> == 0;
    return start(column_sums_kernel<T>, {blocks, dim3(kLanes, kRowLanes), stream},
                 static_cast<const T*>(s.from), s.ld, s.rows, s.columns, parts.rows_each, to, one,
                 aligned);
  });
  if (e != cudaSuccess || one) return e;
  return sum_parts(s.partial, parts.count, s.columns, s.to, nullptr, stream);
}

// Besides the sums of two columns of parts, the order of rows that embedding_gradient makes.
uint64_t partial_floats(uint64_t rows, uint64_t columns) {
  return 2 * parts_of(rows).count * columns + rows;
}

// The rows that got the same row of the table lie below each other in the matrix [rows / each,
// each · columns].
cudaError_t add_rows_gradient(Number number, const void* dy, uint64_t each, uint64_t rows,
                              uint64_t columns, float* dtable, float* partial,
                              cudaStream_t stream) {
  return column_sums(number,
                     {dy, each * columns, rows / each, each * columns, dtable, partial,
                      partial_floats(rows, columns)},
                     stream);
}

}  // namespace stockpot::cuda

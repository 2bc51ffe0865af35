// Rows of dy are added to the rows of a table that their ids name. First each row finds its place
// in the order of ids (rows of one id in their order) by counting those before it, which every
// row does for itself; n² comparisons of integers are few beside a network's products. Then parts
// of that order, of a size that follows from the number of rows, sum the runs of one id; those
// that go over the end of a part are joined last. So an id that most rows have (padding) takes no
// longer than others.
#include "column_sums.h"
#include "gather.h"

namespace stockpot::cuda {
namespace {

// The ids in order: of the rows order[0], order[1], …
struct Sorted {
  Ids ids;
  const int32_t* order;
  uint64_t table_rows, each, rows, rows_each;

  __device__ uint64_t id(uint64_t i) const {
    return id_of_row(ids, static_cast<uint64_t>(order[i]), each, table_rows);
  }
  __device__ uint64_t begin(uint64_t part) const { return part * rows_each; }
  __device__ uint64_t end(uint64_t part) const {
    return begin(part) + rows_each < rows ? begin(part) + rows_each : rows;
  }
  // Whether i and the one before it are of one run.
  __device__ bool goes_on(uint64_t i) const { return i > 0 && i < rows && id(i) == id(i - 1); }
};

constexpr unsigned kIdsAtOnce = 1024;

// A block places kLanes rows; each of its rows of threads counts an eighth of the ids.
__global__ void __launch_bounds__(kLanes* kRowLanes)
    order_kernel(Ids ids, uint64_t table_rows, uint64_t each, uint32_t rows, int32_t* order) {
  __shared__ uint32_t tile[kIdsAtOnce];
  __shared__ uint32_t counts[kRowLanes][kLanes];
  const unsigned thread = threadIdx.y * kLanes + threadIdx.x;
  const uint32_t row = blockIdx.x * kLanes + threadIdx.x;
  const uint32_t own =
      row < rows ? static_cast<uint32_t>(id_of_row(ids, row, each, table_rows)) : 0;
  uint32_t count = 0;
  for (uint32_t from = 0; from < rows; from += kIdsAtOnce) {
    for (unsigned i = thread; i < kIdsAtOnce; i += kLanes * kRowLanes) {
      // Beyond the last: more than any, so that nobody counts it.
      tile[i] = from + i < rows ? static_cast<uint32_t>(id_of_row(ids, from + i, each, table_rows))
                                : 0xFFFFFFFFu;
    }
    __syncthreads();
    constexpr unsigned kShare = kIdsAtOnce / kRowLanes;
#pragma unroll 8
    for (unsigned i = threadIdx.y * kShare; i < (threadIdx.y + 1) * kShare; ++i)
      count += tile[i] < own + (from + i < row ? 1 : 0) ? 1 : 0;
    __syncthreads();
  }
  counts[threadIdx.y][threadIdx.x] = count;
  __syncthreads();
  if (threadIdx.y > 0 || row >= rows) return;
  for (unsigned y = 1; y < kRowLanes; ++y) count += counts[y][threadIdx.x];
  order[count] = static_cast<int32_t>(row);
}

constexpr unsigned kThreads = 128;

template <int kCount>
__device__ __forceinline__ void add_to(float* to, bool aligned, int count, float* v) {
  float there[kCount];
  load<kCount>(to, aligned, count, there);
#pragma unroll
  for (int i = 0; i < kCount; ++i) there[i] += v[i];
  store<kCount>(to, aligned, count, there);
}

// `ends`: for each part [2, columns], the sums of a run that began before it, and of one that goes
// on behind it.
template <class T>
__global__ void __launch_bounds__(kThreads)
    runs_kernel(const __grid_constant__ Sorted sorted, const T* dy, uint64_t columns, float* dtable,
                float* ends, bool aligned) {
  constexpr int kCount = kWidth<T>;
  __shared__ uint32_t id[kMostRowsOfPart], row[kMostRowsOfPart];
  const uint64_t begin = sorted.begin(blockIdx.x), end = sorted.end(blockIdx.x);
  const auto n = static_cast<unsigned>(end - begin);
  for (unsigned i = threadIdx.x; i < n; i += kThreads) {
    row[i] = static_cast<uint32_t>(sorted.order[begin + i]);
    id[i] = static_cast<uint32_t>(sorted.id(begin + i));
  }
  __syncthreads();
  const uint64_t column = (uint64_t{blockIdx.y} * kThreads + threadIdx.x) * kCount;
  const int count = count_at<kCount>(column, columns);
  if (count == 0) return;
  const bool from_before = sorted.goes_on(begin), goes_on = sorted.goes_on(end);
  float* place = ends + blockIdx.x * 2 * columns + column;
  float sum[kCount] = {};
  bool first_run = true;
#pragma unroll 4
  for (unsigned i = 0; i < n; ++i) {
    float v[kCount];
    load<kCount>(dy + row[i] * columns + column, aligned, count, v);
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum[j] += v[j];
    const bool last = i + 1 == n;
    if (!last && id[i + 1] == id[i]) continue;
    if (first_run && from_before) {
      store<kCount>(place, aligned, count, sum);
    } else if (last && goes_on) {
      store<kCount>(place + columns, aligned, count, sum);
    } else {
      add_to<kCount>(dtable + id[i] * columns + column, aligned, count, sum);
    }
    first_run = false;
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum[j] = 0;
  }
}

// The part in which a run over several parts begins adds it up.
template <int kCount>
__global__ void __launch_bounds__(kThreads)
    join_kernel(const __grid_constant__ Sorted sorted, uint64_t columns, float* dtable,
                const float* ends, bool aligned) {
  const uint64_t column = (uint64_t{blockIdx.y} * kThreads + threadIdx.x) * kCount;
  const int count = count_at<kCount>(column, columns);
  uint64_t part = blockIdx.x;
  const uint64_t begin = sorted.begin(part), end = sorted.end(part);
  if (count == 0 || !sorted.goes_on(end)) return;
  const uint64_t id = sorted.id(end - 1);
  if (sorted.id(begin) == id && sorted.goes_on(begin)) return;
  float v[kCount];
  double sum[kCount];
  load<kCount>(ends + (part * 2 + 1) * columns + column, aligned, count, v);
#pragma unroll
  for (int i = 0; i < kCount; ++i) sum[i] = v[i];
  bool on = true;
  while (on) {
    ++part;
    load<kCount>(ends + part * 2 * columns + column, aligned, count, v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum[i] += v[i];
    const uint64_t last = sorted.end(part);
    on = sorted.id(last - 1) == id && sorted.goes_on(last);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = static_cast<float>(sum[i]);
  add_to<kCount>(dtable + id * columns + column, aligned, count, v);
}

}  // namespace

cudaError_t embedding_gradient(Number number, const Ids& ids, const void* dy, uint64_t table_rows,
                               uint64_t each, uint64_t rows, uint64_t columns, float* dtable,
                               float* partial, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  if (rows > INT32_MAX || table_rows >= UINT32_MAX) return cudaErrorInvalidValue;
  const Parts parts = parts_of(rows);
  auto* order = reinterpret_cast<int32_t*>(partial + 2 * parts.count * columns);
  const Sorted sorted{ids, order, table_rows, each, rows, parts.rows_each};
  cudaError_t e =
      start(order_kernel, {blocks_of(divide_up(rows, kLanes)), dim3(kLanes, kRowLanes), stream},
            ids, table_rows, each, rows, order);
  if (e != cudaSuccess) return e;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kCount = kWidth<T>;
    const dim3 blocks(blocks_of(parts.count), blocks_of(divide_up(columns, kThreads * kCount)));
    const bool aligned = is_aligned(columns, kCount, dy, dtable, partial);
    e = start(runs_kernel<T>, {blocks, kThreads, stream}, sorted, static_cast<const T*>(dy),
              columns, dtable, partial, aligned);
    if (e != cudaSuccess) return e;
    return start(join_kernel<kCount>, {blocks, kThreads, stream}, sorted, columns, dtable, partial,
                 aligned);
  });
}

}  // namespace stockpot::cuda

// The Gram matrix of k inputs, or of their differences from a reference, on float64 tensor cores:
// rows of A are inputs, columns of B the same inputs, and the sum runs over elements. So a lane's
// part of A is its part of B, and what a lane reads of an input is sixteen bytes at a time.
#include "gram_tables.h"
#include "launch.h"
#include "mma_f64.h"
#include "start.h"
#include "sums.h"
#include "values.h"

namespace stockpot::cuda {
namespace {

constexpr uint32_t kGroup = 16;  // consecutive elements of a warp: four lanes, four each

// Four elements from e on of input i, less the reference; 0 beyond the end and the last input.
struct Four {
  FourOfAny raw;
  uint64_t data;
  uint32_t dtype;
  bool fast;

  __device__ __forceinline__ void load(const Tables& t, const stockpot_tensor& tensor, uint32_t i,
                                       uint64_t e, bool aligned) {
    data = 0;
    if (i >= t.k || e >= tensor.elements) return;
    const stockpot_input& input = t.inputs[tensor.first_input + i];
    data = input.data;
    dtype = input.dtype;
    fast = aligned && e + 4 <= tensor.elements;
    if (fast) raw.load(data, dtype, e);
  }
  __device__ __forceinline__ void values(const stockpot_tensor& tensor, uint64_t e,
                                         const double* reference, double* v) const {
    if (!data) {
      for (int j = 0; j < 4; ++j) v[j] = 0;
      return;
    }
    if (fast) {
      raw.values(v);
    } else {
      STOCKPOT_UNROLL
      for (int j = 0; j < 4; ++j) v[j] = e + j < tensor.elements ? load_any(data, dtype, e + j) : 0;
    }
    STOCKPOT_UNROLL
    for (int j = 0; j < 4; ++j) v[j] = __dadd_rn(v[j], -reference[j]);
  }
};

__device__ __forceinline__ void load_reference(const stockpot_tensor& tensor, uint64_t e,
                                               bool aligned, double* r) {
  STOCKPOT_UNROLL
  for (int j = 0; j < 4; ++j) r[j] = 0;
  if (!tensor.other) return;
  if (aligned && e + 4 <= tensor.elements &&
      tensor.other_dtype != static_cast<uint32_t>(DType::kF64)) {
    FourOfAny four;
    four.load(tensor.other, tensor.other_dtype, e);
    four.values(r);
  } else {
    STOCKPOT_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (e + j < tensor.elements) r[j] = load_any(tensor.other, tensor.other_dtype, e + j);
    }
  }
}

// What a warp adds up of a tile for kRows block rows from `row` on and as many block columns from
// `column` on (kDiagonal: the same, and only blocks on and above the diagonal). A warp takes every
// kWarps-th group of elements; kSteps of them are under way at once.
template <int kRows, bool kDiagonal>
__device__ __forceinline__ void add_tile(const Tables& t, const Facts& facts, uint64_t tile,
                                         uint32_t row, uint32_t column, double (*sum)[kRows][2]) {
  constexpr int kSteps = kDiagonal ? 4 / kRows : 1;
  constexpr int kColumns = kDiagonal ? 0 : kRows;
  const stockpot_tensor& tensor = t.tensors[facts.tensor];
  const bool aligned = facts.types != Types::kOther;
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const uint64_t begin = (tile - facts.first_tile) * kGramTile + warp * kGroup;
  // The whole warp goes on as long as one of its lanes has elements.
  for (uint32_t from = 0; from < kGramTile && begin + from < tensor.elements;
       from += kSteps * kWarps * kGroup) {
    Four x[kSteps][kRows + kColumns];
    uint64_t at[kSteps];
    STOCKPOT_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      at[s] = begin + from + s * kWarps * kGroup + lane % 4 * 4;
      STOCKPOT_UNROLL
      for (int i = 0; i < kRows; ++i)
        x[s][i].load(t, tensor, (row + i) * kGramSide + lane / 4, at[s], aligned);
      STOCKPOT_UNROLL
      for (int i = 0; i < kColumns; ++i)
        x[s][kRows + i].load(t, tensor, (column + i) * kGramSide + lane / 4, at[s], aligned);
    }
    STOCKPOT_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      double reference[4], a[kRows][4];
      load_reference(tensor, at[s], aligned, reference);
      STOCKPOT_UNROLL
      for (int i = 0; i < kRows; ++i) x[s][i].values(tensor, at[s], reference, a[i]);
      STOCKPOT_UNROLL
      for (int j = 0; j < kRows; ++j) {
        double b[4];
        if constexpr (!kDiagonal) x[s][kRows + j].values(tensor, at[s], reference, b);
        STOCKPOT_UNROLL
        for (int i = 0; i < kRows; ++i) {
          if (kDiagonal && i > j) continue;
          STOCKPOT_UNROLL
          for (int v = 0; v < 4; ++v)
            multiply_add_8x8x4(sum[i][j], a[i][v], kDiagonal ? a[j][v] : b[v]);
        }
      }
    }
  }
}

// Adds up the warps' sums, one after the other, and puts them into the tile's row of partial sums.
template <int kRows, bool kDiagonal>
__device__ __forceinline__ void store_tile(const Tables& t, uint64_t tile, uint32_t row,
                                           uint32_t column, double (*shared)[kGramSums],
                                           double (*sum)[kRows][2]) {
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const uint32_t blocks = gram_blocks(t.k);
  double* partial = t.partial + tile * gram_pairs(t.k) * kGramSums;
  STOCKPOT_UNROLL
  for (int i = 0; i < kRows; ++i) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kRows; ++j) {
      if (kDiagonal && i > j) continue;
      if (row + i >= blocks || column + j >= blocks) continue;
      shared[warp][lane * 2] = sum[i][j][0];
      shared[warp][lane * 2 + 1] = sum[i][j][1];
      __syncthreads();
      if (threadIdx.x < kGramSums) {
        double total = shared[0][threadIdx.x];
        for (int w = 1; w < kWarps; ++w) total = __dadd_rn(total, shared[w][threadIdx.x]);
        partial[gram_index({row + i, column + j}, blocks) * kGramSums + threadIdx.x] = total;
      }
      __syncthreads();
    }
  }
}

template <int kRows, bool kDiagonal>
__device__ __forceinline__ void do_tile(const Tables& t, const Facts& facts, uint64_t tile,
                                        uint32_t row, uint32_t column,
                                        double (*shared)[kGramSums]) {
  double sum[kRows][kRows][2];
  STOCKPOT_UNROLL
  for (int i = 0; i < kRows; ++i) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kRows; ++j) sum[i][j][0] = sum[i][j][1] = 0;
  }
  add_tile<kRows, kDiagonal>(t, facts, tile, row, column, sum);
  store_tile<kRows, kDiagonal>(t, tile, row, column, shared, sum);
}

// kRows block rows at a time: with k of at most kRows · kGramSide each input is read once; else
// once for each of the `squares` of kRows × kRows blocks that it belongs to. Those of a tile follow
// each other, so that they find its data in the cache.
template <int kRows>
__global__ void __launch_bounds__(kThreads, kRows == 4 ? 1 : 2)
    gram_kernel(const __grid_constant__ Tables t, uint32_t squares) {
  __shared__ double shared[kWarps][kGramSums];
  const uint32_t pairs = gram_pairs_of(squares);
  for (uint64_t item = blockIdx.x; item < t.tiles * pairs; item += gridDim.x) {
    const uint64_t tile = item / pairs;
    const Facts& facts = find_tensor(t.facts, t.fact_count, tile);
    const GramPosition p = gram_position(static_cast<uint32_t>(item % pairs), squares);
    if (p.row == p.column) {
      do_tile<kRows, true>(t, facts, tile, p.row * kRows, p.row * kRows, shared);
    } else if constexpr (kRows == 4) {
      do_tile<kRows, false>(t, facts, tile, p.row * kRows, p.column * kRows, shared);
    }
  }
}

// One block adds up one product of one group and writes it on both sides of the diagonal.
__global__ void __launch_bounds__(kThreads)
    group_kernel(const __grid_constant__ Tables t, uint32_t pairs, const uint64_t* group_tiles) {
  __shared__ double shared[kWarps];
  const uint32_t group = blockIdx.y, pair = blockIdx.x / kGramSums, at = blockIdx.x % kGramSums;
  const GramPosition p = gram_position(pair, gram_blocks(t.k));
  const uint32_t row = p.row * kGramSide + at / kGramSide;
  const uint32_t column = p.column * kGramSide + at % kGramSide;
  if (row > column || column >= t.k) return;
  double total = 0;
  double sum[1] = {sum_of_thread(t.partial + blockIdx.x, uint64_t{pairs} * kGramSums,
                                 group_tiles[group], group_tiles[group + 1], threadIdx.x)};
  sum_block<1>(sum, shared, &total);
  if (threadIdx.x != 0) return;
  double* result = reinterpret_cast<double*>(t.result) + uint64_t{group} * t.k * t.k;
  result[uint64_t{row} * t.k + column] = total;
  result[uint64_t{column} * t.k + row] = total;
}

template <int kRows>
cudaError_t launch(const Tables& t, DeviceShape device, cudaStream_t stream) {
  const uint32_t squares = (gram_blocks(t.k) + kRows - 1) / kRows;
  const int most = (kRows == 4 ? 1 : 2) * device.multiprocessors;
  const unsigned blocks = blocks_for(t.tiles * gram_pairs_of(squares), most);
  return start(gram_kernel<kRows>, {blocks, kThreads, stream}, t, squares);
}

}  // namespace

cudaError_t launch_gram(const Tables& t, DeviceShape device, cudaStream_t stream) {
  switch (gram_blocks(t.k)) {
    case 1:
      return launch<1>(t, device, stream);
    case 2:
      return launch<2>(t, device, stream);
    default:
      return launch<4>(t, device, stream);
  }
}

cudaError_t sum_gram(const Tables& t, const uint64_t* group_tiles, uint32_t groups,
                     cudaStream_t stream) {
  const uint32_t pairs = gram_pairs(t.k);
  return start(group_kernel, {dim3(pairs * kGramSums, groups), kThreads, stream}, t, pairs,
               group_tiles);
}

}  // namespace stockpot::cuda

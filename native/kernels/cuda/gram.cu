#include "gram_thread.h"
#include "launch.h"
#include "start.h"
#include "sums.h"

namespace stockpot::cuda {
namespace {

// Sixty-four sums of float64 a thread: one block a multiprocessor.
template <Types kTypes>
__global__ void __launch_bounds__(kThreads, 1)
    gram_kernel(const __grid_constant__ Tables t, uint32_t pairs) {
  __shared__ double shared[kWarps * kGramSums];
  // The pairs of a tile follow each other, so that they find its data in the cache.
  for (uint64_t item = blockIdx.x; item < t.tiles * pairs; item += gridDim.x) {
    const uint64_t tile = item / pairs;
    const uint32_t pair = static_cast<uint32_t>(item % pairs);
    const Facts& facts = find_tensor(t.facts, t.fact_count, tile);
    const GramPosition p = gram_position(pair, gram_blocks(t.k));
    double sum[kGramSums], total = 0;
#pragma unroll
    for (int i = 0; i < kGramSums; ++i) sum[i] = 0;
    if (p.row == p.column) {
      gram_thread<kTypes, true>(t, facts, tile, p, threadIdx.x, sum);
    } else {
      gram_thread<kTypes, false>(t, facts, tile, p, threadIdx.x, sum);
    }
    sum_block<kGramSums>(sum, shared, &total);
    if (threadIdx.x < kGramSums) {
      const uint64_t row = facts.first_tile + tile - facts.launch_tile;
      t.partial[(row * pairs + pair) * kGramSums + threadIdx.x] = total;
    }
  }
}

// One block adds up one product of one group and writes it on both sides of the diagonal.
__global__ void __launch_bounds__(kThreads)
    group_kernel(const __grid_constant__ Tables t, uint32_t pairs, const uint64_t* group_tiles) {
  __shared__ double shared[kWarps];
  const uint32_t group = blockIdx.y, pair = blockIdx.x / kGramSums, at = blockIdx.x % kGramSums;
  const GramPosition p = gram_position(pair, gram_blocks(t.k));
  const uint32_t row = p.row * kGramBlock + at / kGramBlock;
  const uint32_t column = p.column * kGramBlock + at % kGramBlock;
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

}  // namespace

cudaError_t launch_gram(const Tables& t, Types types, DeviceShape device, cudaStream_t stream) {
  const uint32_t pairs = gram_pairs(t.k);
  const unsigned blocks = blocks_for(t.tiles * pairs, device.multiprocessors);
  switch (types) {
    case Types::kF32:
      return start(gram_kernel<Types::kF32>, {blocks, kThreads, stream}, t, pairs);
    case Types::kF16:
      return start(gram_kernel<Types::kF16>, {blocks, kThreads, stream}, t, pairs);
    case Types::kBF16:
      return start(gram_kernel<Types::kBF16>, {blocks, kThreads, stream}, t, pairs);
    default:
      return start(gram_kernel<Types::kOther>, {blocks, kThreads, stream}, t, pairs);
  }
}

cudaError_t sum_gram(const Tables& t, const uint64_t* group_tiles, uint32_t groups,
                     cudaStream_t stream) {
  const uint32_t pairs = gram_pairs(t.k);
  return start(group_kernel, {dim3(pairs * kGramSums, groups), kThreads, stream}, t, pairs,
               group_tiles);
}

}  // namespace stockpot::cuda

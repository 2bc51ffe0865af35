#include "dots_thread.h"
#include "launch.h"
#include "start.h"
#include "sums.h"

namespace stockpot::cuda {
namespace {

constexpr int kBlocks = 2;

__global__ void __launch_bounds__(kThreads, kBlocks) dots_kernel(const __grid_constant__ Tables t) {
  __shared__ double shared[kWarps * kDotsBatch];
  for (uint64_t tile = blockIdx.x; tile < t.tiles; tile += gridDim.x) {
    const Facts& facts = find_tensor(t.facts, t.fact_count, tile);
    double* row = t.partial + tile * t.k;
    for (uint32_t first = 0; first < t.k; first += kDotsBatch) {
      double sum[kDotsBatch], total = 0;
      dots_thread(t, facts, tile, first, threadIdx.x, sum);
      sum_block<kDotsBatch>(sum, shared, &total);
      if (threadIdx.x < kDotsBatch && first + threadIdx.x < t.k) row[first + threadIdx.x] = total;
    }
  }
}

// One block adds up one product of one group.
__global__ void __launch_bounds__(kThreads)
    group_kernel(const __grid_constant__ Tables t, const uint64_t* group_tiles) {
  __shared__ double shared[kWarps];
  const uint32_t group = blockIdx.x / t.k, i = blockIdx.x % t.k;
  double total = 0;
  double sum[1] = {
      sum_of_thread(t.partial + i, t.k, group_tiles[group], group_tiles[group + 1], threadIdx.x)};
  sum_block<1>(sum, shared, &total);
  if (threadIdx.x == 0) reinterpret_cast<double*>(t.result)[blockIdx.x] = total;
}

}  // namespace

cudaError_t launch_dots(const Tables& t, DeviceShape device, cudaStream_t stream) {
  const unsigned blocks = blocks_for(t.tiles, kBlocks * device.multiprocessors);
  return start(dots_kernel, {blocks, kThreads, stream}, t);
}

cudaError_t sum_dots(const Tables& t, const uint64_t* group_tiles, uint32_t groups,
                     cudaStream_t stream) {
  return start(group_kernel, {groups * t.k, kThreads, stream}, t, group_tiles);
}

}  // namespace stockpot::cuda

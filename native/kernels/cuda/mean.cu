#include "launch.h"
#include "mean_thread.h"
#include "start.h"

namespace stockpot::cuda {
namespace {

constexpr int kBlocks = 2;  // a multiprocessor: 128 registers a thread, 64 KiB of loads under way

// All tensors in one launch, whatever their types and weights: a block turns to another loop from
// one tile to the next, and all of its threads take the same.
__global__ void __launch_bounds__(kThreads, kBlocks) mean_kernel(const __grid_constant__ Tables t) {
  for (uint64_t tile = blockIdx.x; tile < t.tiles; tile += gridDim.x) {
    mean_thread(t, tile, threadIdx.x);
  }
}

}  // namespace

cudaError_t launch_mean(const Tables& t, DeviceShape device, cudaStream_t stream) {
  const unsigned blocks = blocks_for(t.tiles, kBlocks * device.multiprocessors);
  return start(mean_kernel, {blocks, kThreads, stream}, t);
}

cudaError_t find_kernels() {
  cudaFuncAttributes ignored;
  return cudaFuncGetAttributes(&ignored, mean_kernel);
}

}  // namespace stockpot::cuda

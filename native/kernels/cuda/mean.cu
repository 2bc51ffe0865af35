#include "launch.h"
#include "mean_thread.h"
#include "start.h"

namespace stockpot::cuda {
namespace {

constexpr int kBlocks = 2;  // a multiprocessor: 128 registers a thread, 64 KiB of loads under way

template <Types kTypes, bool kEqual>
__global__ void __launch_bounds__(kThreads, kBlocks) mean_kernel(const __grid_constant__ Tables t) {
  for (uint64_t tile = blockIdx.x; tile < t.tiles; tile += gridDim.x) {
    mean_thread<kTypes, kEqual>(t, tile, threadIdx.x);
  }
}

template <Types kTypes>
cudaError_t launch(const Tables& t, bool equal, DeviceShape device, cudaStream_t stream) {
  const unsigned blocks = blocks_for(t.tiles, kBlocks * device.multiprocessors);
  return equal ? start(mean_kernel<kTypes, true>, {blocks, kThreads, stream}, t)
               : start(mean_kernel<kTypes, false>, {blocks, kThreads, stream}, t);
}

}  // namespace

cudaError_t launch_mean(const Tables& t, Types types, bool equal, DeviceShape device,
                        cudaStream_t stream) {
  switch (types) {
    case Types::kF32:
      return launch<Types::kF32>(t, equal, device, stream);
    case Types::kF16:
      return launch<Types::kF16>(t, equal, device, stream);
    case Types::kBF16:
      return launch<Types::kBF16>(t, equal, device, stream);
    case Types::kMixed:
      return launch<Types::kMixed>(t, equal, device, stream);
    default:
      return launch<Types::kOther>(t, equal, device, stream);
  }
}

cudaError_t find_kernels() {
  cudaFuncAttributes ignored;
  return cudaFuncGetAttributes(&ignored, mean_kernel<Types::kF32, true>);
}

}  // namespace stockpot::cuda

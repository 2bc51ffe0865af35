#pragma once
// Starts the kernels; each function returns the launch's status. How many blocks run at a time
// depends on the device; results do not.
#include <cuda_runtime_api.h>

#include "tables.h"

namespace stockpot::cuda {

struct DeviceShape {
  int multiprocessors;
};

inline unsigned blocks_for(uint64_t work, int most) {
  return static_cast<unsigned>(work < static_cast<uint64_t>(most) ? work : most);
}

// One launch over all tensors, with at least one tile.
cudaError_t launch_mean(const Tables& t, DeviceShape device, cudaStream_t stream);
// These fill t.partial;
cudaError_t launch_dots(const Tables& t, DeviceShape device, cudaStream_t stream);
cudaError_t launch_gram(const Tables& t, DeviceShape device, cudaStream_t stream);
// and these add it up by groups into t.result.
cudaError_t sum_dots(const Tables& t, const uint64_t* group_tiles, uint32_t groups,
                     cudaStream_t stream);
cudaError_t sum_gram(const Tables& t, const uint64_t* group_tiles, uint32_t groups,
                     cudaStream_t stream);
// Whether the library has code for the current device.
cudaError_t find_kernels();

}  // namespace stockpot::cuda

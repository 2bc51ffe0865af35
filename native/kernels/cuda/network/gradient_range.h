#pragma once
// Derivatives in float16's range. It ends at 65504 and has no numbers below 2^-24, so derivatives
// of a mean over many examples vanish. All that a backward pass does is linear in the derivatives
// by the output: these are scaled by a power of two, so that the largest is in [2^5, 2^6), and
// float32 gradients with them; afterwards the gradients are scaled back. Powers of two round
// nothing, so the sums have the bits that they would have if float16 had the range.
//
// Above the largest there is room for a growth of 2^10 on the way, below for 2^29 down to float16's
// least number; where the room above is not enough, infinity comes out and `beyond` says so.
#include "number.h"

namespace stockpot::cuda {

// On the device.
struct GradientRange {
  float scale;
  uint32_t beyond;  // not 0: a gradient is not finite
};

// to[n], float16 = dout · scale; gradients[count] (a multiple of 4, aligned to 16 bytes) *= scale.
cudaError_t scale_up(const float* dout, uint64_t n, void* to, float* gradients, uint64_t count,
                     GradientRange* range, cudaStream_t);
// gradients /= scale.
cudaError_t scale_back(float* gradients, uint64_t count, GradientRange* range, cudaStream_t);

}  // namespace stockpot::cuda

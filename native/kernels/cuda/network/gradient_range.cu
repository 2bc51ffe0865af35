#include "gradient_range.h"
#include "pack.h"

namespace stockpot::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kTarget = 5;  // the exponent that the largest gets
// Scales are normal numbers, and so are their inverses; float32 gradients of any use stay finite.
constexpr int kMostExponent = 96;
constexpr uint32_t kSign = 0x80000000u, kInfinity = 0x7F800000u;

// One block: the outputs of a batch are few. Magnitudes are compared by their bits, in which NaN is
// above infinity and infinity above numbers.
__global__ void __launch_bounds__(kThreads)
    find_scale_kernel(const float* dout, uint64_t n, GradientRange* range) {
  __shared__ uint32_t of_thread[kThreads];
  uint32_t most = 0;
  for (uint64_t i = threadIdx.x; i < n; i += kThreads) {
    most = max(most, __float_as_uint(dout[i]) & ~kSign);
  }
  of_thread[threadIdx.x] = most;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      of_thread[threadIdx.x] = max(of_thread[threadIdx.x], of_thread[threadIdx.x + half]);
    }
  }
  if (threadIdx.x != 0) return;
  most = of_thread[0];
  const int exponent = static_cast<int>(most >> 23) - 127;
  const int by = most == 0 || most >= kInfinity
                     ? 0
                     : max(-kMostExponent, min(kMostExponent, kTarget - exponent));
  *range = {__uint_as_float(static_cast<uint32_t>(by + 127) << 23), 0};
}

__global__ void __launch_bounds__(kThreads)
    to_half_kernel(const float* dout, uint64_t n, __half* to, const GradientRange* range) {
  const uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) to[i] = from_float<__half>(__fmul_rn(dout[i], range->scale));
}

template <bool kBack>
__global__ void __launch_bounds__(kThreads)
    scale_kernel(float* gradients, uint64_t count, GradientRange* range) {
  const uint64_t at = (uint64_t{blockIdx.x} * kThreads + threadIdx.x) * 4;
  if (at >= count) return;
  const float scale = range->scale, by = kBack ? __fdiv_rn(1.0f, scale) : scale;
  float v[4];
  load_pack<4>(gradients + at, v);
  bool finite = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[i] = __fmul_rn(v[i], by);
    finite = finite && (__float_as_uint(v[i]) & kInfinity) != kInfinity;
  }
  store_pack<4>(gradients + at, v);
  if (kBack && !finite) range->beyond = 1;  // whoever writes it, writes the same
}

unsigned blocks_for_each(uint64_t n) { return blocks_of(divide_up(n, kThreads)); }

}  // namespace

cudaError_t scale_up(const float* dout, uint64_t n, void* to, float* gradients, uint64_t count,
                     GradientRange* range, cudaStream_t stream) {
  cudaError_t e = start(find_scale_kernel, {1, kThreads, stream}, dout, n, range);
  if (e == cudaSuccess && n > 0) {
    e = start(to_half_kernel, {blocks_for_each(n), kThreads, stream}, dout, n,
              static_cast<__half*>(to), range);
  }
  if (e == cudaSuccess && count > 0) {
    e = start(scale_kernel<false>, {blocks_for_each(count / 4), kThreads, stream}, gradients, count,
              range);
  }
  return e;
}

cudaError_t scale_back(float* gradients, uint64_t count, GradientRange* range,
                       cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return start(scale_kernel<true>, {blocks_for_each(count / 4), kThreads, stream}, gradients, count,
               range);
}

}  // namespace stockpot::cuda

#pragma once
// Starting a kernel, by nvcc or on the emulated device of test/emulator, which compiles the same
// sources.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <tuple>
#include <utility>

namespace stockpot::cuda {

// Memory that the threads of a block share, of the size that it was started with, aligned to 16
// bytes.
#if defined(STOCKPOT_EMULATED)
inline uint8_t* dynamic_shared() { return emulator::dynamic_shared(); }
#elif defined(__CUDACC__)
__device__ __forceinline__ uint8_t* dynamic_shared() {
  extern __shared__ __align__(16) uint8_t stockpot_shared[];
  return stockpot_shared;
}
#endif

struct Start {
  dim3 blocks, threads;
  cudaStream_t stream;
  size_t shared = 0;  // bytes of dynamic_shared()
};

#if defined(STOCKPOT_EMULATED)
template <class... P, class... A>
cudaError_t start(void (*kernel)(P...), const Start& s, A&&... arguments) {
  const std::tuple<P...> values(static_cast<P>(arguments)...);
  return emulator::start(s.blocks, s.threads, s.shared, s.stream,
                         [=] { std::apply(kernel, values); });
}
#elif defined(__CUDACC__)
template <class... P, class... A>
cudaError_t start(void (*kernel)(P...), const Start& s, A&&... arguments) {
  constexpr size_t kUnasked = 48 << 10;  // more has to be asked for
  if (s.shared > kUnasked) {
    const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(s.shared));
    if (e != cudaSuccess) return e;
  }
  std::tuple<P...> values(static_cast<P>(arguments)...);
  return std::apply(
      [&](auto&... value) {
        void* addresses[] = {&value...};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), s.blocks, s.threads,
                                addresses, s.shared, s.stream);
      },
      values);
}
#endif

}  // namespace stockpot::cuda

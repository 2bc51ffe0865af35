#pragma once
// The type in which a network's values, matrices and tables are stored on the device; all
// arithmetic is float32, and what is stored is rounded to nearest even.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "../../host_device.h"

namespace stockpot::cuda {

enum class Number : uint8_t { kF32, kBF16, kF16 };

constexpr uint32_t byte_size(Number n) { return n == Number::kF32 ? 4 : 2; }

template <Number>
struct Stored;
template <>
struct Stored<Number::kF32> {
  using type = float;
};
template <>
struct Stored<Number::kBF16> {
  using type = __nv_bfloat16;
};
template <>
struct Stored<Number::kF16> {
  using type = __half;
};

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ inline float to_float(__half v) { return __half2float(v); }

template <class T>
__device__ inline T from_float(float v) {
  if constexpr (sizeof(T) == 4) {
    return v;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(v);
  } else {
    return __float2bfloat16_rn(v);
  }
}

// Calls f(T{}) with the stored type of `n`.
template <class F>
cudaError_t with_type(Number n, const F& f) {
  switch (n) {
    case Number::kBF16:
      return f(__nv_bfloat16{});
    case Number::kF16:
      return f(__half{});
    default:
      return f(float{});
  }
}

}  // namespace stockpot::cuda

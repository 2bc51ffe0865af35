#include "attention_kernels.h"

namespace stockpot::cuda {

cudaError_t attention(const Attention& a, void* out, float* log_sums, cudaStream_t stream) {
  if (a.width == 0 || a.width > 256) return cudaErrorInvalidValue;
  return with_type(a.number, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, float>) {
      return attention_float(a, static_cast<float*>(out), log_sums, stream);
    } else {
      return attention_matrix(a, static_cast<T*>(out), log_sums, stream);
    }
  });
}

}  // namespace stockpot::cuda

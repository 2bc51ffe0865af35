#include "dispatch.h"

#include <vector>

namespace stockpot {
namespace {

std::vector<MeanVariant> detect() {
  std::vector<MeanVariant> found;
#if defined(__x86_64__)
  __builtin_cpu_init();  // also asks whether the operating system saves the wide registers
  const bool f16c = __builtin_cpu_supports("f16c");
  if (f16c && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    found.push_back({"avx512", avx512::mean, avx512::dot});
  }
  if (f16c && __builtin_cpu_supports("avx2")) found.push_back({"avx2", avx2::mean, avx2::dot});
#elif defined(__aarch64__)
  found.push_back({"neon", neon::mean, neon::dot});
#endif
  found.push_back({"plain", plain::mean, plain::dot});
  return found;
}

}  // namespace

const MeanVariant* mean_variants(size_t* count) {
  static const std::vector<MeanVariant> variants = detect();
  *count = variants.size();
  return variants.data();
}

}  // namespace stockpot

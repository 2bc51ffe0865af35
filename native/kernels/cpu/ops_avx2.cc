#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#include <immintrin.h>

#include "ops_table.h"

namespace stockpot::avx2 {
namespace {

struct V {
  static constexpr size_t kLanes = 8;
  static constexpr int kRowTile = 6;  // 12 sums, 2 of B, 1 of A: of 16 registers
  using F = __m256;
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static F set(float x) { return _mm256_set1_ps(x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F times_power_of_two(F a, F n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
  static F copy_sign(F a, F sign) {
    return _mm256_or_ps(abs(a), _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
  }
  static F below_one(F x, F then, F otherwise) {
    return _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps(abs(x), set(1.0f), _CMP_LT_OQ));
  }
  static F zero_below(F x, F limit, F otherwise) {
    return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), otherwise);
  }
};

}  // namespace

extern const NetworkOps kNetworkOps;
const NetworkOps kNetworkOps = vector::table<V>("avx2");

}  // namespace stockpot::avx2

// Not undone for GCC: templates are instantiated at the end of the file.
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

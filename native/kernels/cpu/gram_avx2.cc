#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c")
#endif

#include <immintrin.h>

#include "gram_vector.h"

namespace stockpot::avx2 {
namespace {

struct V {
  static constexpr uint32_t kTile = 2;  // 2 · 2 sums of two registers each
  struct L {
    __m256d lo, hi;
  };

  template <DType T>
  static L load(const uint8_t* p) {
    if constexpr (T == DType::kF64) {
      return from(reinterpret_cast<const double*>(p));
    } else if constexpr (T == DType::kF32) {
      const float* f = reinterpret_cast<const float*>(p);
      return {_mm256_cvtps_pd(_mm_loadu_ps(f)), _mm256_cvtps_pd(_mm_loadu_ps(f + 4))};
    } else {
      const __m128i u = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      const __m256 v = T == DType::kF16
                           ? _mm256_cvtph_ps(u)
                           : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(u), 16));
      return {_mm256_cvtps_pd(_mm256_castps256_ps128(v)),
              _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
    }
  }
  static L from(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
  static void store(double* p, L v) {
    _mm256_storeu_pd(p, v.lo);
    _mm256_storeu_pd(p + 4, v.hi);
  }
  static L zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
  static L add(L a, L b) { return {_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)}; }
  static L sub(L a, L b) { return {_mm256_sub_pd(a.lo, b.lo), _mm256_sub_pd(a.hi, b.hi)}; }
  static L mul(L a, L b) { return {_mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi)}; }
  static double total(L v) {
    const __m256d four = _mm256_add_pd(v.lo, v.hi);
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
  }
};

}  // namespace

void gram(const GramArgs& a) { vector::gram<V>(a); }

}  // namespace stockpot::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

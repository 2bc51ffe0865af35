#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,f16c")
// False alarms in GCC 12's own intrinsics.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "gram_vector.h"

namespace stockpot::avx512 {
namespace {

struct V {
  static constexpr uint32_t kTile = 4;
  using L = __m512d;

  template <DType T>
  static L load(const uint8_t* p) {
    if constexpr (T == DType::kF64) {
      return _mm512_loadu_pd(p);
    } else if constexpr (T == DType::kF32) {
      return _mm512_cvtps_pd(_mm256_loadu_ps(reinterpret_cast<const float*>(p)));
    } else {
      const __m128i u = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      if constexpr (T == DType::kF16) return _mm512_cvtps_pd(_mm256_cvtph_ps(u));
      return _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(u), 16)));
    }
  }
  static L from(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, L v) { _mm512_storeu_pd(p, v); }
  static L zero() { return _mm512_setzero_pd(); }
  static L add(L a, L b) { return _mm512_add_pd(a, b); }
  static L sub(L a, L b) { return _mm512_sub_pd(a, b); }
  static L mul(L a, L b) { return _mm512_mul_pd(a, b); }
  static double total(L v) {
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
  }
};

}  // namespace

void gram(const GramArgs& a) { vector::gram<V>(a); }

}  // namespace stockpot::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

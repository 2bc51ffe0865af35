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

#include "dot_vector.h"
#include "fp8_table.h"
#include "mean_vector.h"

namespace stockpot::avx512 {
namespace {

struct V {
  static constexpr size_t kLanes = 16;
  using F = __m512;
  using D = __m512d;
  using U = __m512i;  // 32-bit lanes
  using W = __m512i;  // 16-bit lanes, twice as many

  template <DType T>
  static F load(const uint8_t* p) {
    if constexpr (T == DType::kF32) {
      return _mm512_loadu_ps(p);
    } else if constexpr (T == DType::kF16) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    } else if constexpr (T == DType::kBF16) {
      const __m256i u = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(u), 16));
    } else {
      const __m512i index =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
      return _mm512_i32gather_ps(index, fp8_table(T), 4);
    }
  }
  static D set(double x) { return _mm512_set1_pd(x); }
  static D low(F v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
  static D high(F v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
  static D add(D a, D b) { return _mm512_add_pd(a, b); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static D mul(D a, D b) { return _mm512_mul_pd(a, b); }
  static D div(D a, D b) { return _mm512_div_pd(a, b); }
  static U magnitude(F v) {
    return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7FFFFFFF));
  }
  static U minus_one(U a) { return _mm512_sub_epi32(a, _mm512_set1_epi32(1)); }
  static U sub(U a, U b) { return _mm512_sub_epi32(a, b); }
  static U max(U a, U b) { return _mm512_max_epu32(a, b); }
  static U min(U a, U b) { return _mm512_min_epu32(a, b); }
  static bool any_above(U a, int32_t limit) {
    return _mm512_cmpgt_epi32_mask(a, _mm512_set1_epi32(limit)) != 0;
  }
  static W load_words(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static W zero_words() { return _mm512_setzero_si512(); }
  static W magnitude_words(W a) { return _mm512_and_si512(a, _mm512_set1_epi16(0x7FFF)); }
  static W minus_one_words(W a) { return _mm512_sub_epi16(a, _mm512_set1_epi16(1)); }
  static W sub_words(W a, W b) { return _mm512_sub_epi16(a, b); }
  static W max_words(W a, W b) { return _mm512_max_epu16(a, b); }
  static W min_words(W a, W b) { return _mm512_min_epu16(a, b); }
  static bool any_word_above(W a, uint16_t limit) {
    return _mm512_cmpgt_epu16_mask(a, _mm512_set1_epi16(static_cast<int16_t>(limit))) != 0;
  }
  static bool any_not_below(D lo, D hi, D threshold) {
    return (_mm512_cmp_pd_mask(_mm512_abs_pd(lo), threshold, _CMP_NLT_UQ) |
            _mm512_cmp_pd_mask(_mm512_abs_pd(hi), threshold, _CMP_NLT_UQ)) != 0;
  }

  template <DType Out>
  static void store(uint8_t* p, D lo, D hi) {
    if constexpr (Out == DType::kF64) {
      _mm512_storeu_pd(p, lo);
      _mm512_storeu_pd(p + 64, hi);
    } else if constexpr (Out == DType::kF32) {
      _mm512_storeu_ps(p, join(_mm512_cvtpd_ps(lo), _mm512_cvtpd_ps(hi)));
    } else if constexpr (Out == DType::kF16) {
      const __m512i odd = join(to_odd(lo), to_odd(hi));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                          _mm512_cvtps_ph(_mm512_castsi512_ps(odd), _MM_FROUND_TO_NEAREST_INT));
    } else {
      const __m512i odd = join(to_odd(lo), to_odd(hi));
      const __m512i last = _mm512_and_si512(_mm512_srli_epi32(odd, 16), _mm512_set1_epi32(1));
      const __m512i up = _mm512_add_epi32(_mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)), last);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                          _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
    }
  }

 private:
  static F join(__m256 lo, __m256 hi) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(lo), hi, 1);
  }
  static U join(__m256i lo, __m256i hi) {
    return _mm512_inserti32x8(_mm512_castsi256_si512(lo), hi, 1);
  }
  // float32 bits rounded to odd: cut, and the last bit set where anything was cut. Rounding that to
  // a type of at most 22 significand bits equals rounding the float64 once.
  static __m256i to_odd(D q) {
    const __m256 cut = _mm512_cvt_roundpd_ps(q, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_cvtps_pd(cut), q, _CMP_NEQ_UQ);
    const __m256i bits = _mm256_castps_si256(cut);
    return _mm256_mask_or_epi32(bits, inexact, bits, _mm256_set1_epi32(1));
  }
};

}  // namespace

void mean(const MeanArgs& a, MeanReport* report) { vector::mean<V>(a, report); }

double dot(DType type, const uint8_t* x, const float* y, size_t n) {
  return vector::dot<V>(type, x, y, n);
}

}  // namespace stockpot::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c")
#endif

#include <immintrin.h>

#include "dot_vector.h"
#include "fp8_table.h"
#include "mean_vector.h"

namespace stockpot::avx2 {
namespace {

struct V {
  static constexpr size_t kLanes = 8;
  using F = __m256;
  using D = __m256d;
  using U = __m256i;  // 32-bit lanes
  using W = __m256i;  // 16-bit lanes, twice as many

  template <DType T>
  static F load(const uint8_t* p) {
    if constexpr (T == DType::kF32) {
      return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    } else if constexpr (T == DType::kF16) {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    } else if constexpr (T == DType::kBF16) {
      const __m128i u = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(u), 16));
    } else {
      const __m256i index =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
      return _mm256_i32gather_ps(fp8_table(T), index, 4);
    }
  }
  static D set(double x) { return _mm256_set1_pd(x); }
  static D low(F v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
  static D high(F v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
  static D add(D a, D b) { return _mm256_add_pd(a, b); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static D mul(D a, D b) { return _mm256_mul_pd(a, b); }
  static D div(D a, D b) { return _mm256_div_pd(a, b); }
  static U magnitude(F v) {
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7FFFFFFF));
  }
  static U minus_one(U a) { return _mm256_sub_epi32(a, _mm256_set1_epi32(1)); }
  static U sub(U a, U b) { return _mm256_sub_epi32(a, b); }
  static U max(U a, U b) { return _mm256_max_epu32(a, b); }
  static U min(U a, U b) { return _mm256_min_epu32(a, b); }
  static bool any_above(U a, int32_t limit) {
    return _mm256_movemask_epi8(_mm256_cmpgt_epi32(a, _mm256_set1_epi32(limit))) != 0;
  }
  static W load_words(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static W zero_words() { return _mm256_setzero_si256(); }
  static W magnitude_words(W a) { return _mm256_and_si256(a, _mm256_set1_epi16(0x7FFF)); }
  static W minus_one_words(W a) { return _mm256_sub_epi16(a, _mm256_set1_epi16(1)); }
  static W sub_words(W a, W b) { return _mm256_sub_epi16(a, b); }
  static W max_words(W a, W b) { return _mm256_max_epu16(a, b); }
  static W min_words(W a, W b) { return _mm256_min_epu16(a, b); }
  static bool any_word_above(W a, uint16_t limit) {
    const W beyond = _mm256_subs_epu16(a, _mm256_set1_epi16(static_cast<int16_t>(limit)));
    return _mm256_testz_si256(beyond, beyond) == 0;
  }
  static bool any_not_below(D lo, D hi, D threshold) {
    return _mm256_movemask_pd(_mm256_or_pd(_mm256_cmp_pd(abs(lo), threshold, _CMP_NLT_UQ),
                                           _mm256_cmp_pd(abs(hi), threshold, _CMP_NLT_UQ))) != 0;
  }

  template <DType Out>
  static void store(uint8_t* p, D lo, D hi) {
    if constexpr (Out == DType::kF64) {
      _mm256_storeu_pd(reinterpret_cast<double*>(p), lo);
      _mm256_storeu_pd(reinterpret_cast<double*>(p) + 4, hi);
    } else if constexpr (Out == DType::kF32) {
      _mm256_storeu_ps(reinterpret_cast<float*>(p), to_f32(lo, hi));
    } else if constexpr (Out == DType::kF16) {
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(p),
          _mm256_cvtps_ph(_mm256_castsi256_ps(to_odd(lo, hi)), _MM_FROUND_TO_NEAREST_INT));
    } else {
      const __m256i odd = to_odd(lo, hi);
      const __m256i last = _mm256_and_si256(_mm256_srli_epi32(odd, 16), _mm256_set1_epi32(1));
      const __m256i up = _mm256_add_epi32(_mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)), last);
      const __m256i bits = _mm256_srli_epi32(up, 16);
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(p),
          _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1)));
    }
  }

 private:
  static D abs(D q) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), q); }
  static F to_f32(D lo, D hi) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(lo)), _mm256_cvtpd_ps(hi),
                                1);
  }
  // Two masks of 64-bit lanes -> one of 32-bit lanes.
  static U narrow(D lo, D hi) {
    const __m256 even = _mm256_shuffle_ps(_mm256_castpd_ps(lo), _mm256_castpd_ps(hi), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(even), 0xD8);
  }
  // float32 bits rounded to odd (see mean_avx512.cc): rounded to nearest, stepped back where that
  // went away from zero, and the last bit set where anything was cut.
  static U to_odd(D lo, D hi) {
    const F nearest = to_f32(lo, hi);
    const D back_lo = low(nearest), back_hi = high(nearest);
    const U away = narrow(_mm256_cmp_pd(abs(back_lo), abs(lo), _CMP_GT_OQ),
                          _mm256_cmp_pd(abs(back_hi), abs(hi), _CMP_GT_OQ));
    const U inexact =
        narrow(_mm256_cmp_pd(back_lo, lo, _CMP_NEQ_UQ), _mm256_cmp_pd(back_hi, hi, _CMP_NEQ_UQ));
    const U cut = _mm256_add_epi32(_mm256_castps_si256(nearest), away);  // a mask's lane is -1
    return _mm256_or_si256(cut, _mm256_and_si256(inexact, _mm256_set1_epi32(1)));
  }
};

}  // namespace

void mean(const MeanArgs& a, MeanReport* report) { vector::mean<V>(a, report); }

double dot(DType type, const uint8_t* x, const float* y, size_t n) {
  return vector::dot<V>(type, x, y, n);
}

}  // namespace stockpot::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

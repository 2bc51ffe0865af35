#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include <immintrin.h>

#include <cstring>

#include "resample.h"

namespace stockpot::avx2 {
namespace {

constexpr int32_t kHalf = 1 << (kResamplePrecision - 1);

// A pixel's three samples and the byte after them.
__m128i pixel(const uint8_t* from) {
  int32_t four;
  std::memcpy(&four, from, sizeof(four));
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(four));
}

// One pixel at a time, its colours side by side; two sums, as a multiplication takes its time.
void across(const uint8_t* row, const Taps& t, uint8_t* red, uint8_t* green, uint8_t* blue) {
  for (size_t x = 0; x < t.count(); ++x) {
    const uint8_t* from = row + 3 * static_cast<size_t>(t.start[x]);
    const int32_t* w = t.weights.data() + x * t.width;
    const int32_t n = t.length[x];
    __m128i a = _mm_set1_epi32(kHalf), b = _mm_setzero_si128();
    int32_t j = 0;
    for (; j + 1 < n; j += 2, from += 6) {
      a = _mm_add_epi32(a, _mm_mullo_epi32(pixel(from), _mm_set1_epi32(w[j])));
      b = _mm_add_epi32(b, _mm_mullo_epi32(pixel(from + 3), _mm_set1_epi32(w[j + 1])));
    }
    if (j < n) a = _mm_add_epi32(a, _mm_mullo_epi32(pixel(from), _mm_set1_epi32(w[j])));
    const __m128i sum = _mm_srai_epi32(_mm_add_epi32(a, b), kResamplePrecision);
    const __m128i words = _mm_packus_epi32(sum, sum);
    const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    red[x] = static_cast<uint8_t>(bytes);
    green[x] = static_cast<uint8_t>(bytes >> 8);
    blue[x] = static_cast<uint8_t>(bytes >> 16);
  }
}

// 16 outputs from `at` on.
void down16(const uint8_t* first, size_t stride, const int32_t* weights, size_t taps,
            uint8_t* out) {
  __m256i low = _mm256_set1_epi32(kHalf), high = low;
  for (size_t j = 0; j < taps; ++j, first += stride) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
    const __m256i w = _mm256_set1_epi32(weights[j]);
    low = _mm256_add_epi32(low, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), w));
    high = _mm256_add_epi32(high,
                            _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), w));
  }
  low = _mm256_srai_epi32(low, kResamplePrecision);
  high = _mm256_srai_epi32(high, kResamplePrecision);
  // Packing works in halves of 128 bits; the permutation brings the words back into their order.
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
  const __m128i packed =
      _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), packed);
}

void down(const uint8_t* first, size_t stride, const int32_t* weights, size_t taps, size_t n,
          uint8_t* out) {
  size_t x = 0;
  for (; x + 16 <= n; x += 16) down16(first + x, stride, weights, taps, out + x);
  if (x < n) plain::kResampleKernels.down(first + x, stride, weights, taps, n - x, out + x);
}

}  // namespace

extern const ResampleKernels kResampleKernels;
const ResampleKernels kResampleKernels = {"avx2", across, down};

}  // namespace stockpot::avx2

// Not undone for GCC: templates are instantiated at the end of the file.
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

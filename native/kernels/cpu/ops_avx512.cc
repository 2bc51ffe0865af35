#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
// False alarms in GCC 12's own intrinsics.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "ops_table.h"

namespace stockpot::avx512 {
namespace {

struct V {
  static constexpr size_t kLanes = 16;
  static constexpr int kRowTile = 14;  // 28 sums, 2 of B, 1 of A: of 32 registers
  using F = __m512;
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F times_power_of_two(F a, F n) { return _mm512_scalef_ps(a, n); }
  static F copy_sign(F a, F sign) {
    return _mm512_or_ps(_mm512_abs_ps(a), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
  }
  static F below_one(F x, F then, F otherwise) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(abs(x), set(1.0f), _CMP_LT_OQ), otherwise, then);
  }
  static F zero_below(F x, F limit, F otherwise) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), otherwise);
  }
};

}  // namespace

extern const NetworkOps kNetworkOps;
const NetworkOps kNetworkOps = vector::table<V>("avx512");

}  // namespace stockpot::avx512

// Not undone for GCC: templates are instantiated at the end of the file.
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

#if defined(__aarch64__)
#include <arm_neon.h>

#include "dot_vector.h"
#include "fp8_table.h"
#include "mean_vector.h"

namespace stockpot::neon {
namespace {

struct V {
  static constexpr size_t kLanes = 4;
  using F = float32x4_t;
  using D = float64x2_t;
  using U = uint32x4_t;
  using W = uint16x8_t;

  template <DType T>
  static F load(const uint8_t* p) {
    if constexpr (T == DType::kF32) {
      return vreinterpretq_f32_u8(vld1q_u8(p));
    } else if constexpr (T == DType::kF16) {
      return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
    } else if constexpr (T == DType::kBF16) {
      return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
    } else {
      const float* table = fp8_table(T);
      const float lanes[4] = {table[p[0]], table[p[1]], table[p[2]], table[p[3]]};
      return vld1q_f32(lanes);
    }
  }
  static D set(double x) { return vdupq_n_f64(x); }
  static D low(F v) { return vcvt_f64_f32(vget_low_f32(v)); }
  static D high(F v) { return vcvt_high_f64_f32(v); }
  static D add(D a, D b) { return vaddq_f64(a, b); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static D mul(D a, D b) { return vmulq_f64(a, b); }
  static D div(D a, D b) { return vdivq_f64(a, b); }
  static U magnitude(F v) { return vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x7FFFFFFF)); }
  static U minus_one(U a) { return vsubq_u32(a, vdupq_n_u32(1)); }
  static U sub(U a, U b) { return vsubq_u32(a, b); }
  static U max(U a, U b) { return vmaxq_u32(a, b); }
  static U min(U a, U b) { return vminq_u32(a, b); }
  static bool any_above(U a, int32_t limit) {
    return vmaxvq_u32(vcgtq_s32(vreinterpretq_s32_u32(a), vdupq_n_s32(limit))) != 0;
  }
  static W load_words(const uint8_t* p) { return vreinterpretq_u16_u8(vld1q_u8(p)); }
  static W zero_words() { return vdupq_n_u16(0); }
  static W magnitude_words(W a) { return vandq_u16(a, vdupq_n_u16(0x7FFF)); }
  static W minus_one_words(W a) { return vsubq_u16(a, vdupq_n_u16(1)); }
  static W sub_words(W a, W b) { return vsubq_u16(a, b); }
  static W max_words(W a, W b) { return vmaxq_u16(a, b); }
  static W min_words(W a, W b) { return vminq_u16(a, b); }
  static bool any_word_above(W a, uint16_t limit) { return vmaxvq_u16(a) > limit; }
  static bool any_not_below(D lo, D hi, D threshold) {
    const uint64x2_t below = vandq_u64(vcaltq_f64(lo, threshold), vcaltq_f64(hi, threshold));
    return (vgetq_lane_u64(below, 0) & vgetq_lane_u64(below, 1)) == 0;
  }

  template <DType Out>
  static void store(uint8_t* p, D lo, D hi) {
    if constexpr (Out == DType::kF64) {
      vst1q_u8(p, vreinterpretq_u8_f64(lo));
      vst1q_u8(p + 16, vreinterpretq_u8_f64(hi));
    } else if constexpr (Out == DType::kF32) {
      vst1q_u8(p, vreinterpretq_u8_f32(vcvt_high_f32_f64(vcvt_f32_f64(lo), hi)));
    } else if constexpr (Out == DType::kF16) {
      vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(to_odd(lo, hi))));
    } else {
      const uint32x4_t odd = vreinterpretq_u32_f32(to_odd(lo, hi));
      const uint32x4_t last = vandq_u32(vshrq_n_u32(odd, 16), vdupq_n_u32(1));
      const uint32x4_t up = vaddq_u32(vaddq_u32(odd, vdupq_n_u32(0x7FFF)), last);
      vst1_u8(p, vreinterpret_u8_u16(vshrn_n_u32(up, 16)));
    }
  }

 private:
  // float32 rounded to odd (see mean_avx512.cc); NEON has the instruction.
  static F to_odd(D lo, D hi) { return vcvtx_high_f32_f64(vcvtx_f32_f64(lo), hi); }
};

}  // namespace

void mean(const MeanArgs& a, MeanReport* report) { vector::mean<V>(a, report); }

double dot(DType type, const uint8_t* x, const float* y, size_t n) {
  return vector::dot<V>(type, x, y, n);
}

}  // namespace stockpot::neon
#endif

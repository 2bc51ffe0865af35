#pragma once
// bfloat16 as the device's header has it, of what the kernels use.
#include "../../native/kernels/plain/convert.h"
#include "emulator.h"

struct __nv_bfloat16 {
  uint16_t bits;
};
inline __nv_bfloat16 __ushort_as_bfloat16(uint16_t b) { return {b}; }
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 h) { return h.bits; }
inline float __bfloat162float(__nv_bfloat16 h) {
  return __uint_as_float(static_cast<uint32_t>(h.bits) << 16);
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  __nv_bfloat16 h;
  bool overflow = false;
  h.bits = static_cast<uint16_t>(stockpot::plain::round_to(stockpot::DType::kBF16, f, &overflow));
  return h;
}

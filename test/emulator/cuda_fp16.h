#pragma once
// float16 as the device's header has it, of what the kernels use.
#include "../../native/kernels/plain/convert.h"
#include "emulator.h"

struct __half {
  uint16_t bits;
};
inline __half __ushort_as_half(uint16_t b) { return {b}; }
inline uint16_t __half_as_ushort(__half h) { return h.bits; }
inline float __half2float(__half h) {
  return static_cast<float>(
      stockpot::plain::load(stockpot::DType::kF16, reinterpret_cast<const uint8_t*>(&h)));
}
inline __half __float2half_rn(float f) {
  __half h;
  bool overflow = false;
  h.bits = static_cast<uint16_t>(stockpot::plain::round_to(stockpot::DType::kF16, f, &overflow));
  return h;
}

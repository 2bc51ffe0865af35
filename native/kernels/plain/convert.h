#pragma once
// Conversions between stored element types and float64, one element at a time, by integer
// arithmetic on the bits: the reference that the vector variants are tested against, and what a GPU
// does where its own fast way does not apply.
#include <cstdint>
#include <cstring>

#include "../dtype.h"
#include "arithmetic.h"

namespace stockpot::plain {

STOCKPOT_HD inline double from_bits64(uint64_t u) {
  double d;
  std::memcpy(&d, &u, 8);
  return d;
}
STOCKPOT_HD inline uint64_t to_bits64(double d) {
  uint64_t u;
  std::memcpy(&u, &d, 8);
  return u;
}

// Layout of a binary floating-point type: exponent and mantissa widths, and whether the highest
// exponent means infinity/NaN (IEEE) or, as in e4m3fn, only the all-ones pattern is NaN.
struct Layout {
  int exponent_bits, mantissa_bits;
  bool ieee;
};

STOCKPOT_HD constexpr Layout layout(DType t) {
  switch (t) {
    case DType::kF64:
      return {11, 52, true};
    case DType::kF32:
      return {8, 23, true};
    case DType::kF16:
      return {5, 10, true};
    case DType::kBF16:
      return {8, 7, true};
    case DType::kF8E4M3:
      return {4, 3, false};
    default:
      return {5, 2, true};
  }
}

STOCKPOT_HD inline uint64_t load_bits(const uint8_t* p, size_t bytes) {
  uint64_t u = 0;
  std::memcpy(&u, p, bytes);  // little-endian, as the files are
  return u;
}

// The value of one stored element. Exact for every type.
STOCKPOT_HD inline double load(DType t, const uint8_t* p) {
  if (t == DType::kF64) return from_bits64(load_bits(p, 8));
  const Layout f = layout(t);
  const uint64_t u = load_bits(p, byte_size(t));
  const uint64_t mantissa = u & ((uint64_t{1} << f.mantissa_bits) - 1);
  const int max_exponent = (1 << f.exponent_bits) - 1;
  const int exponent = static_cast<int>(u >> f.mantissa_bits) & max_exponent;
  const uint64_t sign = (u >> (f.exponent_bits + f.mantissa_bits)) << 63;
  const bool all_ones = mantissa == (uint64_t{1} << f.mantissa_bits) - 1;
  if (exponent == max_exponent && (f.ieee || all_ones)) {
    const bool nan = f.ieee ? mantissa != 0 : true;
    return from_bits64(sign | 0x7FF0000000000000u | (nan ? 0x8000000000000u : 0));
  }
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  if (exponent == 0) {  // zero or subnormal: mantissa · 2^(1 - bias - mantissa_bits)
    const uint64_t scale = static_cast<uint64_t>(1 - bias - f.mantissa_bits + 1023) << 52;
    const double v = static_cast<double>(mantissa) * from_bits64(scale);
    return from_bits64(to_bits64(v) | sign);
  }
  return from_bits64(sign | static_cast<uint64_t>(exponent - bias + 1023) << 52 |
                     mantissa << (52 - f.mantissa_bits));
}

// Rounds q to nearest even, directly from float64 (no intermediate type), into the bits of t, one
// of F64, F32, F16, BF16. Sets *overflow where a finite q rounds to infinity.
STOCKPOT_HD inline uint64_t round_to(DType t, double q, bool* overflow) {
  const Layout f = layout(t);
  const uint64_t u = to_bits64(q);
  const int width = f.exponent_bits + f.mantissa_bits;
  const uint64_t sign = (u >> 63) << width;
  const uint64_t infinity = ((uint64_t{1} << f.exponent_bits) - 1) << f.mantissa_bits;
  const uint64_t magnitude = u & 0x7FFFFFFFFFFFFFFFu;
  if (magnitude > 0x7FF0000000000000u) return infinity | uint64_t{1} << (f.mantissa_bits - 1);
  if (t == DType::kF64) return u;
  if (magnitude == 0x7FF0000000000000u) return sign | infinity;
  const int exponent = static_cast<int>(magnitude >> 52) - 1023;
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  if (exponent < -1022)
    return sign;  // a float64 subnormal is far below half of any smaller type's least value
  uint64_t significand = (magnitude & 0xFFFFFFFFFFFFFu) | 0x10000000000000u;
  int shift = 52 - f.mantissa_bits;  // bits to drop
  uint64_t high =
      static_cast<uint64_t>(exponent + bias);  // biased exponent minus the hidden bit's carry
  if (exponent < 1 - bias) {                   // subnormal in t
    shift += 1 - bias - exponent;
    high = 0;
    if (shift > 54) return sign;
  } else {
    high -= 1;  // the hidden bit adds one back
  }
  const uint64_t kept = significand >> shift;
  const uint64_t rest = significand & ((uint64_t{1} << shift) - 1);
  const uint64_t half = uint64_t{1} << (shift - 1);
  const uint64_t up = rest > half || (rest == half && (kept & 1));
  const int64_t bits =
      static_cast<int64_t>(kept + up) +
      (exponent < 1 - bias ? 0 : static_cast<int64_t>(high) * (int64_t{1} << f.mantissa_bits));
  if (static_cast<uint64_t>(bits) >= infinity) {
    *overflow = true;
    return sign | infinity;
  }
  return sign | static_cast<uint64_t>(bits);
}

STOCKPOT_HD inline void store(DType t, uint8_t* p, uint64_t bits) {
  std::memcpy(p, &bits, byte_size(t));
}

}  // namespace stockpot::plain

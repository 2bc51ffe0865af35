#pragma once
#include <cstddef>
#include <cstdint>

#include "convert.h"

namespace stockpot::plain {
namespace exact {

using u128 = unsigned __int128;
using i128 = __int128;

// A finite float64 as ±significand · 2^(exponent - 1074), exponent ≥ 0.
struct Parts {
  uint64_t significand;
  int exponent;
  bool negative;
};

STOCKPOT_HD inline Parts split(double x) {
  const uint64_t u = to_bits64(x);
  const int e = static_cast<int>(u >> 52) & 0x7FF;
  const uint64_t m = u & 0xFFFFFFFFFFFFFu;
  return {e ? m | 0x10000000000000u : m, e ? e - 1 : 0, (u >> 63) != 0};
}

// Rounds (significand + a fraction in [0, 1) that is not 0 iff sticky) · 2^(exponent - 1074) to
// nearest even. significand > 0; a fraction is only allowed beside a significand of at least 2^54,
// or of any size with exponent < -1 (so that the bits that decide are in the significand).
STOCKPOT_HD inline double round_scaled(u128 significand, int exponent, bool sticky, bool negative) {
  const uint64_t top = static_cast<uint64_t>(significand >> 64);
  const int length =
      top ? 128 - leading_zeros(top) : 64 - leading_zeros(static_cast<uint64_t>(significand));
  // Drop so many bits that 53 are left, or that the last one is worth 2^-1074.
  const int drop = length - 53 > -exponent ? length - 53 : -exponent;
  uint64_t kept;
  int e = exponent;
  if (drop <= 0) {
    kept = static_cast<uint64_t>(significand);
  } else {
    if (drop > length + 1) return negative ? -0.0 : 0.0;
    const u128 rest = drop >= 128 ? significand : significand & ((u128{1} << drop) - 1);
    const u128 half = u128{1} << (drop - 1);
    kept = drop >= 128 ? 0 : static_cast<uint64_t>(significand >> drop);
    if (rest > half || (rest == half && (sticky || (kept & 1)))) ++kept;
    e += drop;
  }
  // kept ≤ 2^53, e ≥ 0. Normalise so that the hidden bit is set or e is 0.
  while (kept < 0x10000000000000u && e > 0) {
    kept <<= 1;
    --e;
  }
  const uint64_t sign = negative ? uint64_t{1} << 63 : 0;
  if (kept < 0x10000000000000u) return from_bits64(sign | kept);
  return from_bits64(sign | ((static_cast<uint64_t>(e) << 52) + kept));
}

// Sums whose exponents span little enough fit 128-bit integers.
template <class Values>
STOCKPOT_HD double mean_128(const Values& x, size_t k, int lowest) {
  i128 sum = 0;
  STOCKPOT_ROLLED
  for (size_t i = 0; i < k; ++i) {
    const Parts p = split(x[i]);
    if (p.significand == 0) continue;
    const i128 v = static_cast<i128>(p.significand) << (p.exponent - lowest);
    sum += p.negative ? -v : v;
  }
  if (sum == 0) return 0.0;
  const bool negative = sum < 0;
  u128 magnitude = negative ? -static_cast<u128>(sum) : static_cast<u128>(sum);
  // Shift up before dividing, so that the quotient has the bits that rounding needs.
  const uint64_t top = static_cast<uint64_t>(magnitude >> 64);
  const int zeros = top ? leading_zeros(top) : 64 + leading_zeros(static_cast<uint64_t>(magnitude));
  magnitude <<= zeros;  // now ≥ 2^127, so the quotient is ≥ 2^96 for k < 2^31
  const u128 quotient = magnitude / k;
  return round_scaled(quotient, lowest - zeros, magnitude % k != 0, negative);
}

// Leaves every limb but the last in [0, 2^32).
STOCKPOT_HD inline void carry(int64_t* limb, int count) {
  STOCKPOT_ROLLED
  for (int i = 0; i + 1 < count; ++i) {
    limb[i + 1] += limb[i] >> 32;  // arithmetic shift: rounds down
    limb[i] &= 0xFFFFFFFF;
  }
}

// The general case: one fixed-point number that covers all of float64's range, in 32-bit limbs held
// in 64-bit ones.
template <class Values>
STOCKPOT_HD double mean_wide(const Values& x, size_t k) {
  constexpr int kGuard = 4;  // limbs below 2^-1074 for the quotient's fraction
  constexpr int kLimbs = kGuard + 68;
  int64_t limb[kLimbs] = {};
  STOCKPOT_ROLLED
  for (size_t i = 0; i < k; ++i) {
    const Parts p = split(x[i]);
    const int at = kGuard + p.exponent / 32;
    const u128 v = static_cast<u128>(p.significand) << (p.exponent % 32);
    const int64_t sign = p.negative ? -1 : 1;
    limb[at] += sign * static_cast<int64_t>(static_cast<uint32_t>(v));
    limb[at + 1] += sign * static_cast<int64_t>(static_cast<uint32_t>(v >> 32));
    limb[at + 2] += sign * static_cast<int64_t>(static_cast<uint32_t>(v >> 64));
  }
  carry(limb, kLimbs);
  const bool negative = limb[kLimbs - 1] < 0;
  if (negative) {
    STOCKPOT_ROLLED
    for (int64_t& l : limb) l = -l;
    carry(limb, kLimbs);
  }
  uint64_t remainder = 0;
  STOCKPOT_ROLLED
  for (int i = kLimbs - 1; i >= 0; --i) {
    const uint64_t v = remainder << 32 | static_cast<uint64_t>(limb[i]);
    limb[i] = static_cast<int64_t>(v / k);
    remainder = v % k;
  }
  int high = kLimbs - 1;
  STOCKPOT_ROLLED
  while (high > 0 && limb[high] == 0) --high;
  if (limb[high] == 0)
    return 0.0;  // the sum is 0: a sum that is not is at least 2^-1074, and its quotient reaches a
                 // guard limb
  if (high < 3) high = 3;
  u128 significand = 0;
  for (int i = 0; i < 4; ++i)
    significand = significand << 32 | static_cast<uint32_t>(limb[high - i]);
  bool sticky = remainder != 0;
  STOCKPOT_ROLLED
  for (int i = 0; i < high - 3; ++i) sticky = sticky || limb[i] != 0;
  return round_scaled(significand, (high - 3 - kGuard) * 32, sticky, negative);
}

}  // namespace exact

// RN64((x_0 + … + x_{k-1}) / k) of finite float64 values x[i], the sum and the quotient exact
// before the one rounding; so it does not depend on the order, cannot overflow, and gives x for k
// copies of x. The sign of a zero mean is that of the inputs where they are all zeros of one sign,
// else plus. Any 1 ≤ k < 2^31. `Values` is a pointer, or anything else with an operator[].
template <class Values>
STOCKPOT_HD double exact_mean(const Values& x, size_t k) {
  int lowest = 1 << 20, highest = -1;
  bool all_negative_zero = true;
  STOCKPOT_ROLLED
  for (size_t i = 0; i < k; ++i) {
    const exact::Parts p = exact::split(x[i]);
    if (p.significand == 0) {
      all_negative_zero = all_negative_zero && p.negative;
      continue;
    }
    all_negative_zero = false;
    if (p.exponent < lowest) lowest = p.exponent;
    if (p.exponent > highest) highest = p.exponent;
  }
  if (highest < 0) return all_negative_zero ? -0.0 : 0.0;
  const int log2_k = 64 - leading_zeros(k);
  return highest - lowest + 53 + log2_k <= 126 ? exact::mean_128(x, k, lowest)
                                               : exact::mean_wide(x, k);
}

}  // namespace stockpot::plain

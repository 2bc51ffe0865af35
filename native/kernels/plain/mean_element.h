#pragma once
// The mean of one element, by the definition in ../mean.h. `Values` is a pointer to k float64
// values, or anything else with an operator[].
#include "exact_mean.h"

namespace stockpot::plain {

STOCKPOT_HD inline bool is_finite(double x) {
  return (to_bits64(x) & 0x7FF0000000000000u) != 0x7FF0000000000000u;
}

// Sum of the values if every addition was exact (Knuth's TwoSum has no error term), else *exact is
// false.
template <class Values>
STOCKPOT_HD double sum(const Values& x, uint32_t k, bool* exact) {
  double s = x[0];
  STOCKPOT_ROLLED
  for (uint32_t i = 1; i < k; ++i) {
    const double v = x[i];
    const double t = add_rn(s, v);
    const double back = add_rn(t, -s);
    const double error = add_rn(add_rn(s, -add_rn(t, -back)), add_rn(v, -back));
    *exact = *exact && error == 0;  // false for NaN too
    s = t;
  }
  return s;
}

// The mean where some value is NaN or infinite: the same whatever the order.
template <class Values>
STOCKPOT_HD double nonfinite_mean(const Values& x, uint32_t k) {
  const double infinity = from_bits64(0x7FF0000000000000u);
  bool nan = false, up = false, down = false;
  STOCKPOT_ROLLED
  for (uint32_t i = 0; i < k; ++i) {
    const double v = x[i];
    nan = nan || v != v;
    up = up || v == infinity;
    down = down || v == -infinity;
  }
  return nan || (up && down) ? from_bits64(0x7FF8000000000000u) : up ? infinity : -infinity;
}

template <class Values>
STOCKPOT_HD double equal_mean(const Values& x, uint32_t k, bool finite) {
  if (!finite) return nonfinite_mean(x, k);
  bool exact = true;
  const double s = sum(x, k, &exact);
  return exact ? div_rn(s, k) : exact_mean(x, k);
}

template <class Values>
STOCKPOT_HD double weighted_sum(const Values& x, const double* w, uint32_t k) {
  double q = mul_rn(w[0], x[0]);
  STOCKPOT_ROLLED
  for (uint32_t i = 1; i < k; ++i) q = add_rn(q, mul_rn(w[i], x[i]));
  return q;
}

}  // namespace stockpot::plain

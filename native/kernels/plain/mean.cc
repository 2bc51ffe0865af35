#include "../mean.h"

#include <cmath>
#include <vector>

#include "convert.h"
#include "exact_mean.h"

namespace stockpot::plain {
namespace {

// Sum of the values if every addition was exact (Knuth's TwoSum has no error term), else *exact is
// false.
double sum(const double* x, uint32_t k, bool* exact) {
  double s = x[0];
  for (uint32_t i = 1; i < k; ++i) {
    const double t = s + x[i];
    const double back = t - s;
    const double error = (s - (t - back)) + (x[i] - back);
    *exact = *exact && error == 0;  // false for NaN too
    s = t;
  }
  return s;
}

// The mean where some value is NaN or infinite: the same whatever the order.
double nonfinite_mean(const double* x, uint32_t k) {
  bool nan = false, up = false, down = false;
  for (uint32_t i = 0; i < k; ++i) {
    nan = nan || std::isnan(x[i]);
    up = up || x[i] == HUGE_VAL;
    down = down || x[i] == -HUGE_VAL;
  }
  return nan || (up && down) ? NAN : up ? HUGE_VAL : -HUGE_VAL;
}

double equal_mean(const double* x, uint32_t k, bool finite) {
  if (!finite) return nonfinite_mean(x, k);
  bool exact = true;
  const double s = sum(x, k, &exact);
  return exact ? s / k : exact_mean(x, k);
}

double weighted_sum(const double* x, const double* w, uint32_t k) {
  double q = w[0] * x[0];
  for (uint32_t i = 1; i < k; ++i) q = q + w[i] * x[i];
  return q;
}

}  // namespace

void mean(const MeanArgs& a, MeanReport* report) {
  std::vector<double> x(a.k);
  const size_t out_bytes = byte_size(a.out_dtype);
  for (size_t e = 0; e < a.n; ++e) {
    bool finite = true;
    for (uint32_t i = 0; i < a.k; ++i) {
      x[i] = load(a.dtypes[i], a.inputs[i] + e * byte_size(a.dtypes[i]));
      finite = finite && std::isfinite(x[i]);
    }
    const double q =
        a.weights ? weighted_sum(x.data(), a.weights, a.k) : equal_mean(x.data(), a.k, finite);
    bool overflow = !std::isfinite(q);
    store(a.out_dtype, a.out + e * out_bytes, round_to(a.out_dtype, q, &overflow));
    report->nonfinite = report->nonfinite || !finite;
    if (finite && overflow) ++report->overflows;
  }
}

}  // namespace stockpot::plain

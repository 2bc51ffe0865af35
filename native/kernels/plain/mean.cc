#include "../mean.h"

#include <vector>

#include "convert.h"
#include "mean_element.h"

namespace stockpot::plain {
void mean(const MeanArgs& a, MeanReport* report) {
  std::vector<double> x(a.k);
  const size_t out_bytes = byte_size(a.out_dtype);
  for (size_t e = 0; e < a.n; ++e) {
    bool finite = true;
    for (uint32_t i = 0; i < a.k; ++i) {
      x[i] = load(a.dtypes[i], a.inputs[i] + e * byte_size(a.dtypes[i]));
      finite = finite && is_finite(x[i]);
    }
    const double q =
        a.weights ? weighted_sum(x.data(), a.weights, a.k) : equal_mean(x.data(), a.k, finite);
    bool overflow = !is_finite(q);
    store(a.out_dtype, a.out + e * out_bytes, round_to(a.out_dtype, q, &overflow));
    report->nonfinite = report->nonfinite || !finite;
    if (finite && overflow) ++report->overflows;
  }
}

}  // namespace stockpot::plain

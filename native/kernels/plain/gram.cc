#include "../gram.h"

#include "convert.h"

namespace stockpot::plain {

void widen(DType t, const uint8_t* from, size_t n, double* to) {
  for (size_t e = 0; e < n; ++e) to[e] = load(t, from + e * byte_size(t));
}

void gram(const GramArgs& a) {
  for (uint32_t i = 0; i < a.k; ++i) {
    double* v = a.vectors + i * kGramBlock;
    widen(a.dtypes[i], a.inputs[i], a.n, v);
    for (size_t e = 0; i > 0 && e < a.n; ++e) v[e] = v[e] - a.vectors[e];
  }
  double* out = a.products;
  for (uint32_t i = 0; i < a.k; ++i) {
    for (uint32_t j = i; j < a.k; ++j) {
      const double* x = a.vectors + i * kGramBlock;
      const double* y = a.vectors + j * kGramBlock;
      double c[kGramLanes] = {};
      for (size_t e = 0; e < a.n; ++e) {
        const double product = x[e] * y[e];
        c[e % kGramLanes] = c[e % kGramLanes] + product;
      }
      *out++ = ((c[0] + c[4]) + (c[2] + c[6])) + ((c[1] + c[5]) + (c[3] + c[7]));
    }
  }
}

}  // namespace stockpot::plain

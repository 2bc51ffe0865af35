#include "../dot.h"

#include "convert.h"

namespace stockpot::plain {

void add_products(DType type, const uint8_t* x, const float* y, size_t n, double* sums) {
  for (size_t i = 0; i < n; ++i)
    sums[i] += load(type, x + i * byte_size(type)) * static_cast<double>(y[i]);
}

double dot(DType type, const uint8_t* x, const float* y, size_t n) {
  double sums[kDotLanes] = {};
  for (size_t i = 0; i < n; i += kDotLanes) {
    add_products(type, x + i * byte_size(type), y + i, n - i < kDotLanes ? n - i : kDotLanes, sums);
  }
  double sum = 0;
  for (double s : sums) sum += s;
  return sum;
}

}  // namespace stockpot::plain

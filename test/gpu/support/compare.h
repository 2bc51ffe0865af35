#pragma once
// How far what was found is from what was expected.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "network_run.h"

namespace stockpot::test {

constexpr const char* kNames[] = {"float32", "bfloat16", "float16"};  // by stockpot_number

inline double largest(const std::vector<float>& v) {
  double most = 0;
  for (float f : v) most = std::max(most, std::fabs(static_cast<double>(f)));
  return most;
}

// NaN is larger than any bound.
inline double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= most)) most = std::isnan(d) ? INFINITY : d;
  }
  return most;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

inline bool same_bits(const Found& a, const Found& b) {
  bool same = same_bits(a.out, b.out) && a.gradients.size() == b.gradients.size();
  for (size_t w = 0; same && w < a.gradients.size(); ++w)
    same = same_bits(a.gradients[w], b.gradients[w]);
  return same;
}

}  // namespace stockpot::test

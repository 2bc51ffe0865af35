// For processors without a variant of their own: four lanes that the compiler makes of what there
// is. Its fused multiply-adds are exact too, but slow where the processor has none.
#include <cmath>

#include "ops_table.h"

namespace stockpot::portable {
namespace {

struct V {
  static constexpr size_t kLanes = 4;
  static constexpr int kRowTile = 4;
  struct F {
    float x[kLanes];
  };
  template <class Fn>
  static F each(const Fn& f) {
    F r;
    for (size_t i = 0; i < kLanes; ++i) r.x[i] = f(i);
    return r;
  }
  static F load(const float* p) {
    return each([p](size_t i) { return p[i]; });
  }
  static void store(float* p, F a) {
    for (size_t i = 0; i < kLanes; ++i) p[i] = a.x[i];
  }
  static F set(float v) {
    return each([v](size_t) { return v; });
  }
  static F add(F a, F b) {
    return each([&](size_t i) { return a.x[i] + b.x[i]; });
  }
  static F sub(F a, F b) {
    return each([&](size_t i) { return a.x[i] - b.x[i]; });
  }
  static F mul(F a, F b) {
    return each([&](size_t i) { return a.x[i] * b.x[i]; });
  }
  static F div(F a, F b) {
    return each([&](size_t i) { return a.x[i] / b.x[i]; });
  }
  static F fma(F a, F b, F c) {
    return each([&](size_t i) { return std::fma(a.x[i], b.x[i], c.x[i]); });
  }
  // As the vector instructions: the second where one is NaN.
  static F max(F a, F b) {
    return each([&](size_t i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }
  static F min(F a, F b) {
    return each([&](size_t i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
  }
  static F abs(F a) {
    return each([&](size_t i) { return std::fabs(a.x[i]); });
  }
  static F round(F a) {
    return each([&](size_t i) { return std::nearbyint(a.x[i]); });
  }
  // Beyond ±300 all is infinite or 0; NaN is no exponent.
  static F times_power_of_two(F a, F n) {
    return each([&](size_t i) {
      const float e = n.x[i] > 300 ? 300 : n.x[i] < -300 ? -300 : n.x[i];
      return std::ldexp(a.x[i], e == e ? static_cast<int>(e) : 0);
    });
  }
  static F copy_sign(F a, F sign) {
    return each([&](size_t i) { return std::copysign(a.x[i], sign.x[i]); });
  }
  static F below_one(F v, F then, F otherwise) {
    return each([&](size_t i) { return std::fabs(v.x[i]) < 1 ? then.x[i] : otherwise.x[i]; });
  }
  static F zero_below(F v, F limit, F otherwise) {
    return each([&](size_t i) { return v.x[i] < limit.x[i] ? 0.0f : otherwise.x[i]; });
  }
};

}  // namespace

extern const NetworkOps kNetworkOps;
const NetworkOps kNetworkOps = vector::table<V>("portable");

}  // namespace stockpot::portable

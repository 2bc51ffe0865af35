#include <algorithm>

#include "resample.h"

namespace stockpot::plain {
namespace {

constexpr uint32_t kHalf = 1u << (kResamplePrecision - 1);

// Unsigned: sums may wrap.
uint8_t clip(uint32_t sum) {
  return static_cast<uint8_t>(std::clamp(static_cast<int32_t>(sum) >> kResamplePrecision, 0, 255));
}

void across(const uint8_t* row, const Taps& t, uint8_t* red, uint8_t* green, uint8_t* blue) {
  for (size_t x = 0; x < t.count(); ++x) {
    const uint8_t* from = row + 3 * static_cast<size_t>(t.start[x]);
    const int32_t* w = t.weights.data() + x * t.width;
    uint32_t r = kHalf, g = kHalf, b = kHalf;
    for (int32_t j = 0; j < t.length[x]; ++j, from += 3) {
      const auto weight = static_cast<uint32_t>(w[j]);
      r += from[0] * weight;
      g += from[1] * weight;
      b += from[2] * weight;
    }
    red[x] = clip(r);
    green[x] = clip(g);
    blue[x] = clip(b);
  }
}

void down(const uint8_t* first, size_t stride, const int32_t* weights, size_t taps, size_t n,
          uint8_t* out) {
  for (size_t x = 0; x < n; ++x) {
    uint32_t sum = kHalf;
    for (size_t j = 0; j < taps; ++j)
      sum += first[x + j * stride] * static_cast<uint32_t>(weights[j]);
    out[x] = clip(sum);
  }
}

}  // namespace

const ResampleKernels kResampleKernels = {"plain", across, down};

}  // namespace stockpot::plain

#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace stockpot {

// Bits after the point of the weights, as in lib/data/filters.ts: 8 are for the pixel, 2 for
// overshoot and sign.
constexpr int kResamplePrecision = 32 - 8 - 2;

// How each of some output pixels is made of input pixels, along one axis: of `length[i]` from
// `start[i]` on, by weights[i * width].
struct Taps {
  std::vector<int32_t> start, length;
  std::vector<int32_t> weights;
  size_t width = 0;
  size_t count() const { return start.size(); }
};

// A window of a scaled image, put into planes of the output.
struct ResamplePlan {
  size_t source_width = 0, source_height = 0;
  Taps columns, rows;  // of the window
  size_t width = 0, height = 0;
  size_t left = 0, top = 0;  // of the window, in the output
};

// Reads no more than what the plan's numbers say, if they hold what `check` asks of them; "" or
// what is wrong.
const char* check(const ResamplePlan& plan);

// Pillow's arithmetic for 8-bit images (two passes, across first, bytes between them). Sums wrap;
// every variant gives the same bits.
struct ResampleKernels {
  const char* name;
  // One row of RGB pixels to one row of each plane; reads a byte past the row's last pixel.
  void (*across)(const uint8_t* row, const Taps& taps, uint8_t* red, uint8_t* green, uint8_t* blue);
  // `n` bytes of one plane's row, from rows that are `stride` bytes apart.
  void (*down)(const uint8_t* first, size_t stride, const int32_t* weights, size_t taps, size_t n,
               uint8_t* out);
};

namespace plain {
extern const ResampleKernels kResampleKernels;
}
namespace avx2 {
extern const ResampleKernels kResampleKernels;
}

// The kernels of that name, or null; "" takes the fastest of this machine.
const ResampleKernels* resample_kernels(const char* name);

// `rgb` is interleaved, source_height x source_width x 3; `planes` is 3 x height x width, of which
// only the window is written. Returns early when `stop` says so.
void resample(const ResampleKernels& kernels, const ResamplePlan& plan, const uint8_t* rgb,
              uint8_t* planes, const std::function<bool()>& stop);

}  // namespace stockpot

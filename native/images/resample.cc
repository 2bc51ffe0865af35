#include "resample.h"

#include <algorithm>
#include <cstring>

namespace stockpot {
namespace {

bool fits(const Taps& t, size_t input) {
  if (t.length.size() != t.count() || t.weights.size() != t.count() * t.width) return false;
  for (size_t i = 0; i < t.count(); ++i) {
    if (t.start[i] < 0 || t.length[i] < 1 || static_cast<size_t>(t.length[i]) > t.width ||
        static_cast<size_t>(t.start[i]) + static_cast<size_t>(t.length[i]) > input)
      return false;
  }
  return true;
}

}  // namespace

const char* check(const ResamplePlan& p) {
  if (!fits(p.columns, p.source_width) || !fits(p.rows, p.source_height))
    return "taps reach beside the image";
  if (p.columns.count() > p.width || p.left > p.width - p.columns.count() ||
      p.rows.count() > p.height || p.top > p.height - p.rows.count())
    return "the window does not fit the output";
  return "";
}

const ResampleKernels* resample_kernels(const char* name) {
#if defined(__x86_64__)
  if ((!*name || !std::strcmp(name, "avx2")) && __builtin_cpu_supports("avx2"))
    return &avx2::kResampleKernels;
#endif
  return !*name || !std::strcmp(name, "plain") ? &plain::kResampleKernels : nullptr;
}

void resample(const ResampleKernels& kernels, const ResamplePlan& plan, const uint8_t* rgb,
              uint8_t* planes, const std::function<bool()>& stop) {
  const Taps &columns = plan.columns, &rows = plan.rows;
  const size_t n = columns.count(), row_bytes = 3 * plan.source_width;
  if (n == 0 || rows.count() == 0) return;
  // Rows of the source that the window needs.
  size_t first = plan.source_height, end = 0;
  for (size_t i = 0; i < rows.count(); ++i) {
    first = std::min(first, static_cast<size_t>(rows.start[i]));
    end = std::max(end, static_cast<size_t>(rows.start[i] + rows.length[i]));
  }
  // A row of each plane after the other.
  std::vector<uint8_t> across(end > first ? (end - first) * 3 * n : 0);
  std::vector<uint8_t> last(row_bytes + 1);
  for (size_t y = first; y < end; ++y) {
    if (stop()) return;
    const uint8_t* row = rgb + y * row_bytes;
    if (y + 1 == plan.source_height) {  // nothing can be read past the image's end
      std::memcpy(last.data(), row, row_bytes);
      row = last.data();
    }
    uint8_t* to = across.data() + (y - first) * 3 * n;
    kernels.across(row, columns, to, to + n, to + 2 * n);
  }
  for (size_t y = 0; y < rows.count(); ++y) {
    if (stop()) return;
    for (size_t c = 0; c < 3; ++c) {
      kernels.down(across.data() + ((rows.start[y] - first) * 3 + c) * n, 3 * n,
                   rows.weights.data() + y * rows.width, static_cast<size_t>(rows.length[y]), n,
                   planes + (c * plan.height + plan.top + y) * plan.width + plan.left);
    }
  }
}

}  // namespace stockpot

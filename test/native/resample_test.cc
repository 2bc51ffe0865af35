// Every variant of the resampling gives the plain one's bytes, and touches nothing beside its
// buffers (under AddressSanitizer). Prints "N passed, N failed".
#include "../../native/images/resample.h"

#include <algorithm>
#include <cstdio>
#include <random>

using namespace stockpot;

namespace {

std::mt19937 engine(5);
int passed = 0, failed = 0;

int between(int least, int most) { return std::uniform_int_distribution<int>(least, most)(engine); }

// Random taps that lie within the input, with weights that make sums wrap now and then.
Taps taps(int input, int count) {
  Taps t;
  t.width = static_cast<size_t>(between(1, 9));
  for (int i = 0; i < count; ++i) {
    const int n = between(1, std::min(input, static_cast<int>(t.width)));
    t.length.push_back(n);
    t.start.push_back(between(0, input - n));
    for (size_t j = 0; j < t.width; ++j)
      t.weights.push_back(between(0, 50) ? between(-(1 << 20), 1 << 22)
                                         : between(INT32_MIN, INT32_MAX));
  }
  return t;
}

void one(const ResampleKernels& kernels) {
  ResamplePlan p;
  const int w = between(1, 50), h = between(1, 50), n = between(0, 50), m = between(0, 20);
  p.source_width = static_cast<size_t>(w);
  p.source_height = static_cast<size_t>(h);
  p.columns = taps(w, n);
  p.rows = taps(h, m);
  p.left = static_cast<size_t>(between(0, 3));
  p.top = static_cast<size_t>(between(0, 3));
  p.width = p.left + p.columns.count() + static_cast<size_t>(between(0, 3));
  p.height = p.top + p.rows.count() + static_cast<size_t>(between(0, 3));
  bool ok = !*check(p);
  std::vector<uint8_t> rgb(3 * p.source_width * p.source_height);
  for (uint8_t& b : rgb) b = static_cast<uint8_t>(between(0, 255));
  std::vector<uint8_t> a(3 * p.width * p.height, 7), b = a;
  const auto go_on = [] { return false; };
  resample(kernels, p, rgb.data(), a.data(), go_on);
  resample(plain::kResampleKernels, p, rgb.data(), b.data(), go_on);
  ok = ok && a == b;
  ok ? ++passed : ++failed;
  if (!ok) std::printf("FAILED %s, %d x %d to %d x %d\n", kernels.name, w, h, n, m);
}

void refusals() {
  const auto refused = [](void (*change)(ResamplePlan&)) {
    ResamplePlan p;
    p.source_width = p.source_height = p.width = p.height = 4;
    p.columns = p.rows = {{0, 1}, {2, 2}, {1, 1, 1, 1}, 2};
    change(p);
    *check(p) ? ++passed : ++failed;
  };
  refused([](ResamplePlan& p) { p.columns.start[1] = 3; });
  refused([](ResamplePlan& p) { p.columns.start[0] = -1; });
  refused([](ResamplePlan& p) { p.rows.length[0] = 3; });
  refused([](ResamplePlan& p) { p.rows.length[0] = -1; });
  refused([](ResamplePlan& p) { p.rows.length[0] = 0; });
  refused([](ResamplePlan& p) { p.rows.weights.pop_back(); });
  refused([](ResamplePlan& p) { p.rows.length.pop_back(); });
  refused([](ResamplePlan& p) { p.left = 3; });
  refused([](ResamplePlan& p) { p.top = SIZE_MAX; });
  refused([](ResamplePlan& p) { p.height = 1; });
}

}  // namespace

int main() {
  refusals();
  for (const char* name : {"plain", "avx2"}) {
    const ResampleKernels* kernels = resample_kernels(name);
    for (int i = 0; kernels && i < 3000; ++i) one(*kernels);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

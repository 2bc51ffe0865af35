// Every variant of the dot product that this processor runs gives the reference's bits, for every
// type, length and alignment; the reference is near long double arithmetic. Prints "N passed, N
// failed".
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../../native/kernels/dispatch.h"
#include "../../native/kernels/plain/convert.h"

using namespace stockpot;

int main() {
  std::mt19937 engine(20221124);
  std::normal_distribution<float> normal;
  int passed = 0, failed = 0;
  const auto expect = [&](bool ok, const char* variant, int type, size_t n) {
    ok ? ++passed : ++failed;
    if (!ok) std::printf("FAILED %s, type %d, %zu elements\n", variant, type, n);
  };
  size_t count;
  const MeanVariant* variants = mean_variants(&count);
  const DType types[] = {DType::kF64,  DType::kF32,    DType::kF16,
                         DType::kBF16, DType::kF8E4M3, DType::kF8E5M2};
  for (DType type : types) {
    for (size_t n : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{17}, size_t{1000}}) {
      const size_t item = byte_size(type);
      std::vector<uint8_t> room(n * item + 1);
      uint8_t* x = room.data() + 1;  // unaligned
      std::vector<float> y(n);
      for (float& v : y) v = normal(engine);
      for (size_t i = 0; i < n; ++i) {
        if (type == DType::kF64) {
          const double d = normal(engine);
          std::memcpy(x + i * item, &d, item);
        } else if (type == DType::kF32) {
          const float f = normal(engine);
          std::memcpy(x + i * item, &f, item);
        } else {
          // Any bits that are a finite number, subnormals too.
          do {
            const uint16_t bits = static_cast<uint16_t>(engine());
            std::memcpy(x + i * item, &bits, item);
          } while (!std::isfinite(plain::load(type, x + i * item)));
        }
      }
      const double expected = plain::dot(type, x, y.data(), n);
      long double sum = 0, magnitude = 0;
      for (size_t i = 0; i < n; ++i) {
        const long double p = static_cast<long double>(plain::load(type, x + i * item)) * y[i];
        sum += p;
        magnitude += std::fabs(p);
      }
      // n/16 + 16 roundings of sums that stay below the magnitude.
      expect(std::fabs(expected - sum) <= magnitude * static_cast<double>(n / 16 + 17) * 1.2e-16L,
             "plain", static_cast<int>(type), n);
      for (size_t v = 0; v < count; ++v) {
        const double found = variants[v].dot(type, x, y.data(), n);
        expect(std::memcmp(&found, &expected, sizeof(found)) == 0, variants[v].name,
               static_cast<int>(type), n);
      }
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

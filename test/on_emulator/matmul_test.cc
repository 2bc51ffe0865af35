// The products of native/kernels/cuda/network/matmul.cu on the emulated device.
#include <cstdio>

#include "support/products.h"

using namespace stockpot::test;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

void product(Number number, const Case& c) {
  run(
      number, c, name_of(number, c), [](const Matmul& p) { return matmul(p, nullptr); }, check);
}

}  // namespace

int main() {
  for (Number number : {Number::kF32, Number::kBF16, Number::kF16}) {
    for (const Case& c : cases()) product(number, c);
    // Large enough for the larger blocks.
    product(number, {1500, 1450, 40, false, true, false, false, true, true, 0, 0});
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}

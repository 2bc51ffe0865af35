// Every variant of the kernel of inner products that this processor runs against the plain one, bit
// for bit: all types, odd lengths, unaligned starts, any number of inputs. Runs without Node, so
// that it can run under sanitizers. Prints "N passed, N failed".
#include "../../native/kernels/gram.h"

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../../native/kernels/plain/convert.h"

using namespace stockpot;

namespace {

std::mt19937_64 engine(20221124);

// Values like weights, of one type, `skew` bytes after an allocation's start.
std::vector<uint8_t> weights(DType t, size_t n, size_t skew) {
  std::normal_distribution<double> normal(0, 0.05);
  std::vector<uint8_t> bytes(skew + n * byte_size(t));
  for (size_t i = 0; i < n; ++i) {
    uint64_t bits = engine() & 0x3F3F;  // finite in every 8-bit type
    bool overflow = false;
    if (t <= DType::kBF16) bits = plain::round_to(t, normal(engine), &overflow);
    std::memcpy(bytes.data() + skew + i * byte_size(t), &bits, byte_size(t));
  }
  return bytes;
}

bool agrees(const GramVariant& variant, uint32_t k, size_t n) {
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<const uint8_t*> inputs;
  std::vector<DType> types;
  for (uint32_t i = 0; i < k; ++i) {
    types.push_back(static_cast<DType>(engine() % 6));
    const size_t skew = engine() % 4;
    buffers.push_back(weights(types.back(), n, skew));
    inputs.push_back(nullptr);
  }
  for (uint32_t i = 0; i < k; ++i)
    inputs[i] = buffers[i].data() + (buffers[i].size() - n * byte_size(types[i]));
  std::vector<double> room(k * kGramBlock), want(gram_pairs(k)), got(gram_pairs(k), -1);
  plain::gram({inputs.data(), types.data(), k, n, room.data(), want.data()});
  variant.kernel({inputs.data(), types.data(), k, n, room.data(), got.data()});
  return std::memcmp(want.data(), got.data(), want.size() * sizeof(double)) == 0;
}

}  // namespace

int main() {
  size_t count, passed = 0, failed = 0;
  const GramVariant* variants = gram_variants(&count);
  for (size_t v = 0; v < count; ++v) {
    for (uint32_t k = 1; k <= 13; ++k) {
      for (size_t n : {1, 2, 7, 8, 9, 63, 64, 65, 511, 512}) {
        const bool ok = agrees(variants[v], k, n);
        if (!ok) std::printf("%s: k %u, n %zu differs\n", variants[v].name, k, n);
        ++(ok ? passed : failed);
      }
    }
  }
  std::printf("%zu passed, %zu failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

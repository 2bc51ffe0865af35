// Every variant of the averaging kernel that this processor runs against the plain one, bit for
// bit: all types, all outputs, odd lengths, unaligned starts, equal and unequal weights, values
// like weights and any bits. Runs without Node, so that it can run under sanitizers and on an
// emulated processor. Prints "N passed, N failed".
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../../native/kernels/dispatch.h"
#include "../../native/kernels/plain/convert.h"

using namespace stockpot;

namespace {

const DType kInputs[] = {DType::kF64,  DType::kF32,    DType::kF16,
                         DType::kBF16, DType::kF8E4M3, DType::kF8E5M2};
const DType kOutputs[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};
std::mt19937_64 engine(20221123);

// Elements of one input: like weights, like weights with huge spans, or any bits (NaN and infinity
// among them).
void fill(DType t, int kind, size_t n, uint8_t* to) {
  std::normal_distribution<double> normal(0, 0.05);
  for (size_t i = 0; i < n; ++i) {
    uint64_t bits = engine();
    if (kind < 2 && t <= DType::kBF16) {
      const double scale = kind == 0 ? 1.0 : std::ldexp(1.0, static_cast<int>(engine() % 30) - 25);
      bool overflow = false;
      bits = plain::round_to(t, normal(engine) * scale, &overflow);
    }
    std::memcpy(to + i * byte_size(t), &bits, byte_size(t));
  }
}

struct Case {
  std::vector<DType> types;
  DType out;
  size_t n, skew;
  int kind;
  bool weighted;
};

bool agrees(const MeanVariant& variant, const Case& c) {
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<const uint8_t*> inputs;
  std::vector<double> weights;
  for (DType t : c.types) {
    buffers.emplace_back(c.n * byte_size(t) + c.skew);
    fill(t, c.kind, c.n, buffers.back().data() + c.skew);
    weights.push_back(std::ldexp(static_cast<double>(engine() % 2001) - 1000.0, -9));
  }
  for (const auto& b : buffers) inputs.push_back(b.data() + c.skew);
  // Bytes beyond the output show whether a variant writes too far.
  const size_t bytes = c.n * byte_size(c.out);
  std::vector<uint8_t> want(bytes + 64, 0xA5), found(bytes + 64, 0xA5);
  MeanArgs args{inputs.data(),
                c.types.data(),
                c.weighted ? weights.data() : nullptr,
                static_cast<uint32_t>(c.types.size()),
                c.n,
                c.out,
                want.data()};
  MeanReport expected, got;
  plain::mean(args, &expected);
  args.out = found.data();
  variant.kernel(args, &got);
  return want == found && expected.nonfinite == got.nonfinite &&
         expected.overflows == got.overflows;
}

}  // namespace

int main() {
  size_t count;
  const MeanVariant* variants = mean_variants(&count);
  int passed = 0, failed = 0;
  for (size_t v = 0; v + 1 < count; ++v) {
    std::vector<Case> cases;
    for (DType t : kInputs) {
      for (DType out : kOutputs) {
        for (int kind = 0; kind < 3; ++kind) {
          for (bool weighted : {false, true}) {
            for (size_t k : {1, 2, 3, 4, 5, 8, 13, 72}) {
              cases.push_back({std::vector<DType>(k, t), out, 1 + engine() % 150, engine() % 9,
                               kind, weighted});
            }
          }
        }
      }
    }
    for (int i = 0; i < 300; ++i) {  // mixed types
      Case c{{},           kOutputs[engine() % 4],         1 + engine() % 100,
             engine() % 9, static_cast<int>(engine() % 3), engine() % 2 == 0};
      for (size_t j = 1 + engine() % 9; j > 0; --j) c.types.push_back(kInputs[engine() % 6]);
      cases.push_back(c);
    }
    for (const Case& c : cases) {
      if (agrees(variants[v], c)) {
        ++passed;
      } else {
        ++failed;
        std::printf("%s: k %zu, first type %d -> %d, n %zu, skew %zu, kind %d, %s\n",
                    variants[v].name, c.types.size(), static_cast<int>(c.types[0]),
                    static_cast<int>(c.out), c.n, c.skew, c.kind,
                    c.weighted ? "weighted" : "equal");
      }
    }
    std::printf("%s: %zu cases\n", variants[v].name, cases.size());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

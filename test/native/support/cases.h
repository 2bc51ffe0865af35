#pragma once
// Made-up tensors for the tests of means, dot products and Gram matrices, on the host or on a
// device.
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../../../native/kernels/mean.h"
#include "../../../native/kernels/plain/convert.h"

namespace stockpot::test {

inline std::mt19937_64& engine() {
  static std::mt19937_64 e(20221123);
  return e;
}

// kTiny: around the least float32. kTies: float32 whose means of two are next to a tie of
// bfloat16's subnormals, which rounding to float32 first would make a tie. kAny: NaN and infinity
// among them.
enum class Kind { kWeights, kWideSpans, kZeros, kTiny, kTies, kAny };

inline std::vector<uint8_t> made_up(DType t, Kind kind, size_t n, size_t skew = 0) {
  std::vector<uint8_t> bytes(n * byte_size(t) + skew);
  std::normal_distribution<double> normal(0, 0.05);
  for (size_t i = 0; i < n; ++i) {
    uint64_t bits = engine()();
    if (kind == Kind::kZeros && bits % 3) {
      bits = bits % 2 ? 0 : uint64_t{1} << (8 * byte_size(t) - 1);  // zeros of both signs
    } else if (kind == Kind::kTies && t == DType::kF32) {
      bits = (3u << 15) - (bits & 1);
    } else if (kind != Kind::kAny && t <= DType::kBF16) {
      const int spread = static_cast<int>(engine()() % 60);
      const int exponent = kind == Kind::kWideSpans ? spread - 55
                           : kind == Kind::kTiny    ? spread / 3 - 140
                                                    : 0;
      const double scale = std::ldexp(1.0, exponent);
      bool overflow = false;
      bits = plain::round_to(t, normal(engine()) * scale, &overflow);
    } else if (kind != Kind::kAny) {
      // fp8: clear of NaN and infinity
      bits &= t == DType::kF8E4M3 ? 0xF7 : 0xBB;
    }
    std::memcpy(&bytes[skew + i * byte_size(t)], &bits, byte_size(t));
  }
  return bytes;
}

struct MeanCase {
  std::vector<DType> types;
  DType out = DType::kF32;
  DType second = DType::kBF16;
  bool has_second = false, weighted = false;
  size_t n = 1, skew = 0;
  Kind kind = Kind::kWeights;

  std::string text() const {
    std::string s = "k " + std::to_string(types.size()) + ", first type " +
                    std::to_string(static_cast<int>(types[0])) + " -> " +
                    std::to_string(static_cast<int>(out)) + ", n " + std::to_string(n) + ", skew " +
                    std::to_string(skew) + ", kind " + std::to_string(static_cast<int>(kind));
    return s + (weighted ? ", weighted" : "") + (has_second ? ", second" : "");
  }
};

// All types in and out, k from 1 to 72, mixed types, all kinds of values, ends that fill no vector.
inline std::vector<MeanCase> mean_cases() {
  const DType inputs[] = {DType::kF64,  DType::kF32,    DType::kF16,
                          DType::kBF16, DType::kF8E4M3, DType::kF8E5M2};
  const DType outputs[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};
  std::vector<MeanCase> cases;
  for (DType t : inputs) {
    for (DType out : outputs) {
      for (Kind kind :
           {Kind::kWeights, Kind::kWideSpans, Kind::kZeros, Kind::kTiny, Kind::kTies, Kind::kAny}) {
        for (bool weighted : {false, true}) {
          for (size_t k : {1, 2, 3, 4, 5, 8, 13, 72}) {
            MeanCase c;
            c.types.assign(k, t);
            c.out = out;
            c.second = outputs[engine()() % 4];
            c.has_second = engine()() % 2;
            c.weighted = weighted;
            c.n = 1 + engine()() % 300;
            c.skew = engine()() % 8 ? 0 : 1;
            c.kind = kind;
            cases.push_back(c);
          }
        }
      }
    }
  }
  for (int i = 0; i < 400; ++i) {
    MeanCase c;
    for (size_t j = 1 + engine()() % 20; j > 0; --j) {
      c.types.push_back(inputs[(i % 4 ? 1 : 0) + engine()() % (i % 4 ? 5 : 6)]);
    }
    c.out = outputs[engine()() % 4];
    c.has_second = engine()() % 2;
    c.second = outputs[engine()() % 4];
    c.weighted = engine()() % 2;
    c.n = 1 + engine()() % 300;
    c.kind = static_cast<Kind>(engine()() % 6);
    cases.push_back(c);
  }
  for (size_t n : {8191, 8192, 8193, 40000}) {  // around a tile
    for (DType t : {DType::kF32, DType::kBF16}) {
      MeanCase c;
      c.types.assign(n % 2 ? 3 : 9, t);
      c.n = n;
      c.has_second = true;
      cases.push_back(c);
    }
  }
  return cases;
}

inline std::vector<double> made_up_weights(size_t k) {
  std::vector<double> w;
  for (size_t i = 0; i < k; ++i)
    w.push_back(std::ldexp(static_cast<double>(engine()() % 2001) - 1000.0, -9));
  return w;
}

// The plain result of a case, and what the plain kernel reports.
struct Expected {
  std::vector<uint8_t> out, second;
  uint64_t nonfinite = 0, overflows = 0;
};

inline Expected expect(const MeanCase& c, const std::vector<std::vector<uint8_t>>& inputs,
                       const std::vector<double>& weights) {
  Expected x;
  x.out.resize(c.n * byte_size(c.out));
  x.second.resize(c.n * byte_size(c.second));
  std::vector<const uint8_t*> pointers;
  for (const auto& b : inputs) pointers.push_back(b.data() + c.skew);
  for (int pass = 0; pass < 2; ++pass) {
    MeanReport report;
    plain::mean({pointers.data(), c.types.data(), c.weighted ? weights.data() : nullptr,
                 static_cast<uint32_t>(c.types.size()), c.n, pass ? c.second : c.out,
                 pass ? x.second.data() : x.out.data()},
                &report);
    if (!pass) x.overflows = report.overflows;
  }
  for (size_t e = 0; e < c.n; ++e) {
    bool finite = true;
    for (size_t i = 0; i < pointers.size(); ++i) {
      finite =
          finite && std::isfinite(plain::load(c.types[i], pointers[i] + e * byte_size(c.types[i])));
    }
    x.nonfinite += !finite;
  }
  return x;
}

}  // namespace stockpot::test

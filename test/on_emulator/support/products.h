#pragma once
// Made-up products and what they should be.
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../../../native/kernels/cuda/network/matmul.h"

namespace stockpot::test {

using namespace stockpot::cuda;

inline uint32_t state = 1;
inline float random_float() {
  state = state * 1664525u + 1013904223u;
  return static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
}

// Numbers as stored, with their values.
struct Matrix {
  Number number;
  uint64_t ld;
  std::vector<uint8_t> bytes;
  size_t skew;
  Matrix(Number n, uint64_t rows, uint64_t columns, uint64_t gap, size_t off)
      : number(n),
        ld(columns + gap),
        bytes(rows * ld * byte_size(n) + off * byte_size(n)),
        skew(off) {
    for (uint64_t i = 0; i < rows * ld; ++i) set(i, random_float());
  }
  uint8_t* data() { return bytes.data() + skew * byte_size(number); }
  void set(uint64_t i, float v) {
    if (number == Number::kF32) {
      std::memcpy(data() + 4 * i, &v, 4);
    } else {
      const uint16_t bits =
          number == Number::kF16 ? __float2half_rn(v).bits : __float2bfloat16_rn(v).bits;
      std::memcpy(data() + 2 * i, &bits, 2);
    }
  }
  float get(uint64_t i) {
    float v;
    if (number == Number::kF32) {
      std::memcpy(&v, data() + 4 * i, 4);
      return v;
    }
    uint16_t bits;
    std::memcpy(&bits, data() + 2 * i, 2);
    return number == Number::kF16 ? __half2float(__half{bits})
                                  : __bfloat162float(__nv_bfloat16{bits});
  }
};

struct Case {
  uint64_t m, n, k;
  bool a_transposed, b_transposed, accumulate, c_float, bias, residual;
  uint64_t gap;
  size_t skew;
};

inline float rounded(Number n, float v) {
  return n == Number::kF32   ? v
         : n == Number::kF16 ? __half2float(__float2half_rn(v))
                             : __bfloat162float(__float2bfloat16_rn(v));
}

using Check = std::function<void(bool, const std::string&)>;

// Computes the product by `multiply` and compares it with the chain of fused multiply-adds: the
// same bits in float32, else within a unit of the last place or two of the largest.
inline void run(Number number, const Case& c, const std::string& name,
                const std::function<cudaError_t(const Matmul&)>& multiply, const Check& check) {
  const Number result = c.c_float ? Number::kF32 : number;
  Matrix a(number, c.a_transposed ? c.k : c.m, c.a_transposed ? c.m : c.k, c.gap, c.skew);
  Matrix b(number, c.b_transposed ? c.n : c.k, c.b_transposed ? c.k : c.n, c.gap, c.skew);
  Matrix out(result, c.m, c.n, c.gap, c.skew);
  Matrix residual(result, c.m, c.n, c.gap, c.skew);
  std::vector<float> bias(c.n);
  for (float& v : bias) v = random_float();
  std::vector<float> expected(c.m * out.ld);
  for (uint64_t i = 0; i < c.m * out.ld; ++i) expected[i] = out.get(i);
  for (uint64_t i = 0; i < c.m; ++i) {
    for (uint64_t j = 0; j < c.n; ++j) {
      float sum = c.accumulate ? out.get(i * out.ld + j) : 0.0f;
      for (uint64_t k = 0; k < c.k; ++k) {
        const float x = a.get(c.a_transposed ? k * a.ld + i : i * a.ld + k);
        const float y = b.get(c.b_transposed ? j * b.ld + k : k * b.ld + j);
        sum = std::fmaf(x, y, sum);
      }
      if (c.bias) sum += bias[j];
      if (c.residual) sum += residual.get(i * out.ld + j);
      expected[i * out.ld + j] = rounded(result, sum);
    }
  }
  Matmul p{};
  p.number = number;
  p.m = c.m, p.n = c.n, p.k = c.k;
  p.a = a.data(), p.lda = a.ld, p.a_transposed = c.a_transposed;
  p.b = b.data(), p.ldb = b.ld, p.b_transposed = c.b_transposed;
  p.c = out.data(), p.ldc = out.ld, p.c_float = c.c_float, p.accumulate = c.accumulate;
  if (c.bias) p.bias = bias.data();
  if (c.residual) p.residual = residual.data();
  check(multiply(p) == cudaSuccess, name + " starts");
  uint64_t wrong = 0;
  double most = 0, largest = 0;
  for (uint64_t i = 0; i < c.m * out.ld; ++i) {
    const float found = out.get(i);
    if (number == Number::kF32 || i % out.ld >= c.n) {
      wrong += std::memcmp(&found, &expected[i], 4) != 0;
    } else {
      most = std::fmax(most, std::fabs(found - expected[i]));
      largest = std::fmax(largest, std::fabs(expected[i]));
    }
  }
  check(wrong == 0, name + ": " + std::to_string(wrong) + " elements have other bits");
  // Tensor cores add in another order, and an ulp of the result at most is lost by rounding it.
  const double unit = result == Number::kF32 ? 0x1p-20 : result == Number::kF16 ? 0x1p-10 : 0x1p-7;
  check(most <= unit * largest,
        name + ": off by " + std::to_string(most / largest) + " of the largest");
}

// Shapes, layouts and what follows, mixed.
inline std::vector<Case> cases() {
  const uint64_t shapes[][3] = {{1, 1, 1},     {3, 5, 7},      {64, 64, 16},  {65, 130, 33},
                                {130, 48, 64}, {17, 192, 200}, {50, 10, 768}, {128, 129, 31}};
  std::vector<Case> all;
  for (const auto& s : shapes) {
    for (int layout = 0; layout < 4; ++layout) {
      const size_t n = all.size();
      all.push_back({s[0], s[1], s[2], (layout & 1) != 0, (layout & 2) != 0, n % 3 == 1, n % 2 == 1,
                     n % 5 == 0, n % 4 == 2,
                     n % 7 == 3   ? 5u
                     : n % 7 == 5 ? 8u
                                  : 0u,
                     n % 7 == 4 ? 1u : 0u});
    }
  }
  return all;
}

inline std::string name_of(Number number, const Case& c) {
  const char* names[] = {"float32", "bfloat16", "float16"};
  return std::string(names[static_cast<int>(number)]) + " " + std::to_string(c.m) + "x" +
         std::to_string(c.n) + "x" + std::to_string(c.k) + (c.a_transposed ? " A'" : "") +
         (c.b_transposed ? " B'" : "");
}

}  // namespace stockpot::test

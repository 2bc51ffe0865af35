#pragma once
// Made-up rows, on the device and back, and how their results are judged.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../../native/kernels/cuda/network/rows.h"

namespace stockpot::test {

using namespace stockpot::cuda;

inline int passed = 0, failed = 0;
inline void expect(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("FAILED %s\n", what.c_str());
}
inline int finish() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}

constexpr Number kNumbers[] = {Number::kF32, Number::kBF16, Number::kF16};
inline std::string name_of(Number n) {
  return n == Number::kF32 ? "float32 " : n == Number::kF16 ? "float16 " : "bfloat16 ";
}
inline std::string text(double v) {
  char room[32];
  std::snprintf(room, sizeof(room), "%g", v);
  return room;
}

inline float rounded(Number n, float v) {
  return n == Number::kF32   ? v
         : n == Number::kF16 ? __half2float(__float2half_rn(v))
                             : __bfloat162float(__float2bfloat16_rn(v));
}
// Half a unit of the last place, relative to the value.
inline double half_unit(Number n) {
  return n == Number::kF32 ? 0x1p-24 : n == Number::kF16 ? 0x1p-11 : 0x1p-8;
}

// Values that are exact in `n`: normal, around `centre`.
inline std::vector<float> random_values(Number n, size_t count, float deviation = 1,
                                        float centre = 0) {
  static std::mt19937 engine(20220310);
  std::normal_distribution<float> normal(centre, deviation);
  std::vector<float> v(count);
  for (float& x : v) x = rounded(n, normal(engine));
  return v;
}

inline std::vector<uint8_t> encode(Number n, const std::vector<float>& v) {
  std::vector<uint8_t> bytes(v.size() * byte_size(n));
  for (size_t i = 0; i < v.size(); ++i) {
    if (n == Number::kF32) {
      std::memcpy(&bytes[4 * i], &v[i], 4);
    } else {
      const uint16_t bits = n == Number::kF16 ? __half_as_ushort(__float2half_rn(v[i]))
                                              : __bfloat16_as_ushort(__float2bfloat16_rn(v[i]));
      std::memcpy(&bytes[2 * i], &bits, 2);
    }
  }
  return bytes;
}
inline std::vector<float> decode(Number n, const std::vector<uint8_t>& bytes) {
  std::vector<float> v(bytes.size() / byte_size(n));
  for (size_t i = 0; i < v.size(); ++i) {
    if (n == Number::kF32) {
      std::memcpy(&v[i], &bytes[4 * i], 4);
    } else {
      uint16_t bits;
      std::memcpy(&bits, &bytes[2 * i], 2);
      v[i] = n == Number::kF16 ? __half2float(__ushort_as_half(bits))
                               : __bfloat162float(__ushort_as_bfloat16(bits));
    }
  }
  return v;
}

// Bytes on the device, `skew` behind an aligned place.
class Array {
 public:
  Array(const void* from, size_t bytes, size_t skew) : bytes_(bytes), skew_(skew) {
    if (cudaMalloc(&memory_, bytes + skew) != cudaSuccess) std::abort();
    cudaMemcpyAsync(data(), from, bytes, cudaMemcpyHostToDevice, nullptr);
    cudaStreamSynchronize(nullptr);
  }
  Array(Array&& other) : memory_(other.memory_), bytes_(other.bytes_), skew_(other.skew_) {
    other.memory_ = nullptr;
  }
  ~Array() { cudaFree(memory_); }
  void* data() const { return static_cast<uint8_t*>(memory_) + skew_; }
  float* floats() const { return static_cast<float*>(data()); }
  int32_t* integers() const { return static_cast<int32_t*>(data()); }
  std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> to(bytes_);
    cudaStreamSynchronize(nullptr);
    cudaMemcpyAsync(to.data(), data(), bytes_, cudaMemcpyDeviceToHost, nullptr);
    cudaStreamSynchronize(nullptr);
    return to;
  }

 private:
  void* memory_ = nullptr;
  size_t bytes_, skew_;
};

// Makes the arrays of one run, all off by as many elements.
struct Room {
  Number number;
  size_t skew;
  Array values(const std::vector<float>& v) const {
    const auto bytes = encode(number, v);
    return Array(bytes.data(), bytes.size(), skew * byte_size(number));
  }
  Array floats(const std::vector<float>& v) const {
    return Array(v.data(), v.size() * 4, skew * 4);
  }
  Array integers(const std::vector<int32_t>& v) const {
    return Array(v.data(), v.size() * 4, skew * 4);
  }
  // Filled with NaN.
  Array empty(size_t count) const { return values(std::vector<float>(count, NAN)); }
  Array partial(uint64_t rows, uint64_t columns) const {
    return Array(std::vector<float>(partial_floats(rows, columns), NAN).data(),
                 partial_floats(rows, columns) * 4, 0);
  }
};

using Run = std::function<std::vector<Array>(const Room&)>;
using Results = std::vector<std::vector<uint8_t>>;

inline Results results_of(const Run& run, const Room& room) {
  Results all;
  for (const Array& a : run(room)) all.push_back(a.bytes());
  return all;
}

// The results of a run, whose bits must be the same wherever its arrays lie and in whatever order
// the threads of the emulated device come.
inline Results run_all_ways(Number number, const std::string& name, const Run& run) {
  const Results first = results_of(run, {number, 0});
  expect(results_of(run, {number, 1}) == first, name + ": the same off an aligned place");
  const char* order = std::getenv("EMULATOR_ORDER");
  setenv("EMULATOR_ORDER", order && std::strcmp(order, "reverse") == 0 ? "forward" : "reverse", 1);
  expect(results_of(run, {number, 0}) == first, name + ": the same in another order of threads");
  order ? setenv("EMULATOR_ORDER", order, 1) : unsetenv("EMULATOR_ORDER");
  return first;
}

// |found - wanted| <= bound(i), and half a unit of the last place of what is stored.
inline void judge(Number stored, const std::string& name, const std::vector<uint8_t>& bytes,
                  const std::vector<double>& wanted, const std::function<double(size_t)>& bound) {
  const std::vector<float> found = decode(stored, bytes);
  double worst = 0;
  size_t at = 0;
  bool numbers = found.size() == wanted.size();
  for (size_t i = 0; numbers && i < found.size(); ++i) {
    const double allowed = bound(i) + half_unit(stored) * std::fabs(wanted[i]) +
                           (stored == Number::kF16 ? 0x1p-25 : 0);
    const double error = std::fabs(found[i] - wanted[i]) / (allowed + 1e-40);
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  expect(numbers && worst <= 1,
         name + ": error / bound = " + text(worst) + " at " + std::to_string(at) +
             (numbers ? ", found " + text(found[at]) + ", expected " + text(wanted[at]) : " size"));
}
inline void judge_bits(Number stored, const std::string& name, const std::vector<uint8_t>& bytes,
                       const std::vector<float>& wanted) {
  expect(bytes == encode(stored, wanted), name + ": the bits");
}

inline void expect_started(cudaError_t e) {
  if (e != cudaSuccess) expect(false, std::string("a kernel starts: ") + cudaGetErrorString(e));
}

// The plain functions.
inline double activation(Activation a, double x) {
  switch (a) {
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}
inline double activation_slope(Activation a, double x) {
  switch (a) {
    case Activation::kGelu:
      return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    case Activation::kGeluTanh: {
      const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
    }
    case Activation::kQuickGelu: {
      const double s = 1 / (1 + std::exp(-1.702 * x));
      return s + 1.702 * x * s * (1 - s);
    }
    case Activation::kRelu:
      return x > 0 ? 1 : 0;
    case Activation::kTanh:
      return 1 - std::tanh(x) * std::tanh(x);
    case Activation::kSilu: {
      const double s = 1 / (1 + std::exp(-x));
      return s + x * s * (1 - s);
    }
    default:
      return 1;
  }
}
constexpr Activation kActivations[] = {
    Activation::kNone, Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu,
    Activation::kRelu, Activation::kTanh, Activation::kSilu};

}  // namespace stockpot::test

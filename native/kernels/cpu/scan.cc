#include "../scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../plain/convert.h"

namespace stockpot {
namespace {

template <class T>
Count nonfinite(const uint8_t* p, size_t n, T exponent) {
  Count c;
  for (size_t i = 0; i < n; ++i) {
    T u;
    std::memcpy(&u, p + i * sizeof(T), sizeof(T));
    if ((u & exponent) == exponent) {
      if (c.count++ == 0) c.first = i;
    }
  }
  return c;
}

template <class T>
void max_of(const uint8_t* const* inputs, uint32_t k, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    T best, v;
    std::memcpy(&best, inputs[0] + i * sizeof(T), sizeof(T));
    for (uint32_t j = 1; j < k; ++j) {
      std::memcpy(&v, inputs[j] + i * sizeof(T), sizeof(T));
      best = std::max(best, v);
    }
    std::memcpy(out + i * sizeof(T), &best, sizeof(T));
  }
}

double value(DType t, const uint8_t* p) {
  const uint64_t u = plain::load_bits(p, byte_size(t));
  switch (t) {
    case DType::kI64:
      return static_cast<double>(static_cast<int64_t>(u));
    case DType::kI32:
      return static_cast<int32_t>(u);
    case DType::kI16:
      return static_cast<int16_t>(u);
    case DType::kI8:
      return static_cast<int8_t>(u);
    case DType::kU64:
    case DType::kU32:
    case DType::kU16:
    case DType::kU8:
    case DType::kBool:
      return static_cast<double>(u);
    default:
      return plain::load(t, p);
  }
}

}  // namespace

Count count_nonfinite(DType t, const uint8_t* p, size_t n) {
  switch (t) {
    case DType::kF64:
      return nonfinite<uint64_t>(p, n, 0x7FF0000000000000u);
    case DType::kF32:
      return nonfinite<uint32_t>(p, n, 0x7F800000u);
    case DType::kF16:
      return nonfinite<uint16_t>(p, n, 0x7C00u);
    case DType::kBF16:
      return nonfinite<uint16_t>(p, n, 0x7F80u);
    case DType::kF8E4M3:
      return nonfinite<uint8_t>(p, n, 0x7Fu);  // its one NaN; it has no infinity
    case DType::kF8E5M2:
      return nonfinite<uint8_t>(p, n, 0x7Cu);
    default:
      return {};
  }
}

Count count_unequal(DType t, const uint8_t* a, const uint8_t* b, size_t n) {
  Count c;
  const size_t item = byte_size(t);
  if (std::memcmp(a, b, n * item) == 0) return c;
  for (size_t i = 0; i < n; ++i) {
    if (std::memcmp(a + i * item, b + i * item, item) != 0 && c.count++ == 0) c.first = i;
  }
  return c;
}

void integer_max(DType t, const uint8_t* const* inputs, uint32_t k, size_t n, uint8_t* out) {
  switch (t) {
    case DType::kI64:
      return max_of<int64_t>(inputs, k, n, out);
    case DType::kI32:
      return max_of<int32_t>(inputs, k, n, out);
    case DType::kI16:
      return max_of<int16_t>(inputs, k, n, out);
    case DType::kI8:
      return max_of<int8_t>(inputs, k, n, out);
    case DType::kU64:
      return max_of<uint64_t>(inputs, k, n, out);
    case DType::kU32:
      return max_of<uint32_t>(inputs, k, n, out);
    case DType::kU16:
      return max_of<uint16_t>(inputs, k, n, out);
    default:
      return max_of<uint8_t>(inputs, k, n, out);
  }
}

Difference compare(DType ta, const uint8_t* a, DType tb, const uint8_t* b, size_t n) {
  Difference d;
  const size_t ia = byte_size(ta), ib = byte_size(tb);
  if (ta == tb && std::memcmp(a, b, n * ia) == 0) return d;
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* pa = a + i * ia;
    const uint8_t* pb = b + i * ib;
    if (ta == tb && std::memcmp(pa, pb, ia) == 0) continue;
    const double x = value(ta, pa), y = value(tb, pb);
    if (ta != tb && x == y) continue;
    if (d.unequal.count++ == 0) d.unequal.first = i;
    const double difference = std::fabs(x - y);
    d.largest = std::max(d.largest, std::isnan(difference) ? HUGE_VAL : difference);
    d.sum_of_squares += difference * difference;
  }
  return d;
}

}  // namespace stockpot

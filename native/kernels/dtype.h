#pragma once
#include <cstddef>
#include <cstdint>

#include "host_device.h"

namespace stockpot {

// Element types. The numbers are those of lib/checkpoint/dtype.ts.
enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
};
constexpr int kDTypeCount = 15;

STOCKPOT_HD constexpr bool is_float(DType t) { return t <= DType::kF8E5M2; }

STOCKPOT_HD constexpr size_t byte_size(DType t) {
  switch (t) {
    case DType::kF64:
    case DType::kI64:
    case DType::kU64:
      return 8;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
    case DType::kU16:
      return 2;
    default:
      return 1;
  }
}

// Bits of the significand, the hidden one included.
STOCKPOT_HD constexpr int significand_bits(DType t) {
  switch (t) {
    case DType::kF64:
      return 53;
    case DType::kF32:
      return 24;
    case DType::kF16:
      return 11;
    case DType::kBF16:
      return 8;
    case DType::kF8E4M3:
      return 4;
    default:
      return 3;
  }
}

}  // namespace stockpot

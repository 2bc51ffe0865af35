#include "fp8_table.h"

#include <array>

#include "../plain/convert.h"

namespace stockpot {
namespace {

std::array<float, 256> make(DType t) {
  std::array<float, 256> table{};
  for (int i = 0; i < 256; ++i) {
    const uint8_t byte = static_cast<uint8_t>(i);
    table[i] = static_cast<float>(plain::load(t, &byte));
  }
  return table;
}

}  // namespace

const float* fp8_table(DType t) {
  static const std::array<float, 256> e4m3 = make(DType::kF8E4M3);
  static const std::array<float, 256> e5m2 = make(DType::kF8E5M2);
  return t == DType::kF8E4M3 ? e4m3.data() : e5m2.data();
}

}  // namespace stockpot

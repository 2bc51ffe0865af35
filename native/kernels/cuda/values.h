#pragma once
// Consecutive elements of any floating-point type as float64, for products.
#include "vectors.h"

namespace stockpot::cuda {

STOCKPOT_NOINLINE STOCKPOT_HD inline double load_any(uint64_t data, uint32_t dtype, uint64_t e) {
  const DType t = static_cast<DType>(dtype);
  return plain::load(t, reinterpret_cast<const uint8_t*>(data) + e * byte_size(t));
}

// kCount elements of type T, 8 or 16 bytes of them, read at once.
template <DType T, int kCount>
struct Vector {
  static constexpr int kItem = T == DType::kF32 ? 4 : 2;
  static_assert(kCount * kItem == 16 || kCount * kItem == 8);
  Words raw;

  // `once`: nothing else reads these bytes.
  STOCKPOT_HD void load(uint64_t data, uint64_t e, bool once) {
    if constexpr (kCount * kItem == 16) {
      raw = once ? load_once(data + e * kItem) : load_again(data + e * kItem);
    } else {
#if defined(__CUDA_ARCH__)
      const uint2 v = __ldg(reinterpret_cast<const uint2*>(data + e * kItem));
      raw.word[0] = v.x;
      raw.word[1] = v.y;
#else
      std::memcpy(&raw, reinterpret_cast<const void*>(data + e * kItem), 8);
#endif
    }
  }
  STOCKPOT_HD double operator[](int j) const { return element<T>(raw, j); }
};

// What a launch of one kind reads.
template <Types kTypes>
constexpr DType dtype_of() {
  return kTypes == Types::kF32 ? DType::kF32 : kTypes == Types::kF16 ? DType::kF16 : DType::kBF16;
}

}  // namespace stockpot::cuda

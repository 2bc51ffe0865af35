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

// Four elements of a type that is known at run time, F32, F16, BF16 or fp8, read at once; `data` is
// aligned to 16 bytes and e a multiple of 4.
struct FourOfAny {
  Words raw;
  DType type;

  STOCKPOT_HD void load(uint64_t data, uint32_t dtype, uint64_t e) {
    type = static_cast<DType>(dtype);
    switch (byte_size(type)) {
      case 4:
        raw = load_again(data + e * 4);
        break;
      case 2: {
#if defined(__CUDA_ARCH__)
        const uint2 v = __ldg(reinterpret_cast<const uint2*>(data + e * 2));
        raw.word[0] = v.x;
        raw.word[1] = v.y;
#else
        std::memcpy(&raw, reinterpret_cast<const void*>(data + e * 2), 8);
#endif
        break;
      }
      default:
#if defined(__CUDA_ARCH__)
        raw.word[0] = __ldg(reinterpret_cast<const uint32_t*>(data + e));
#else
        std::memcpy(&raw, reinterpret_cast<const void*>(data + e), 4);
#endif
    }
  }
  STOCKPOT_HD void values(double* v) const {
    switch (type) {
      case DType::kF32:
        STOCKPOT_UNROLL
        for (int j = 0; j < 4; ++j) v[j] = element<DType::kF32>(raw, j);
        break;
      case DType::kF16:
        STOCKPOT_UNROLL
        for (int j = 0; j < 4; ++j) v[j] = element<DType::kF16>(raw, j);
        break;
      case DType::kBF16:
        STOCKPOT_UNROLL
        for (int j = 0; j < 4; ++j) v[j] = element<DType::kBF16>(raw, j);
        break;
      default:
        STOCKPOT_UNROLL
        for (int j = 0; j < 4; ++j)
          v[j] = fp8_value(type == DType::kF8E5M2, raw.word[0] >> j * 8 & 0xFFu);
    }
  }
};

}  // namespace stockpot::cuda

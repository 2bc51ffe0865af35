#pragma once
// Sixteen bytes at a time: loads, stores and what lies in them. On the device loads and stores pass
// by the caches (each byte is used once); on the host they are plain copies, so that what is built
// on them can be tested there.
#include <cstring>

#include "../dtype.h"
#include "../plain/convert.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace stockpot::cuda {

struct alignas(16) Words {
  uint32_t word[4];
};

STOCKPOT_HD inline Words load_once(uint64_t address) {
#if defined(__CUDA_ARCH__)
  const uint4 v = __ldcs(reinterpret_cast<const uint4*>(address));
  return {{v.x, v.y, v.z, v.w}};
#else
  Words w;
  std::memcpy(&w, reinterpret_cast<const void*>(address), sizeof(w));
  return w;
#endif
}

// As load_once, of what others will read again.
STOCKPOT_HD inline Words load_again(uint64_t address) {
#if defined(__CUDA_ARCH__)
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(address));
  return {{v.x, v.y, v.z, v.w}};
#else
  return load_once(address);
#endif
}

STOCKPOT_HD inline void store_once(uint64_t address, const Words& w) {
#if defined(__CUDA_ARCH__)
  __stcs(reinterpret_cast<uint4*>(address), make_uint4(w.word[0], w.word[1], w.word[2], w.word[3]));
#else
  std::memcpy(reinterpret_cast<void*>(address), &w, sizeof(w));
#endif
}

STOCKPOT_HD inline float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
#endif
}

STOCKPOT_HD inline uint32_t bits_of(float f) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(f);
#else
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
#endif
}

// The value of a float16 pattern; exact.
STOCKPOT_HD inline float half_value(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
#else
  const uint16_t stored = static_cast<uint16_t>(bits);
  return static_cast<float>(plain::load(DType::kF16, reinterpret_cast<const uint8_t*>(&stored)));
#endif
}

// Element j of a vector of sixteen bytes of F32, F16 or BF16; j is known when it is compiled.
template <DType T>
STOCKPOT_HD inline float element(const Words& w, int j) {
  if (T == DType::kF32) return float_of(w.word[j]);
  const uint32_t word = w.word[j / 2];
  if (T == DType::kBF16) return float_of(j % 2 ? word & 0xFFFF0000u : word << 16);
  return half_value(j % 2 ? word >> 16 : word & 0xFFFFu);
}

// The value of a float8 pattern, e5m2 or e4m3fn; exact. Both are laid over the bits of a float16.
STOCKPOT_HD inline float fp8_value(bool e5m2, uint32_t bits) {
  if (e5m2) return half_value(bits << 8);
  if ((bits & 0x7Fu) == 0x7Fu) return float_of(0x7FC00000u);
  return 256.0f * half_value((bits & 0x80u) << 8 | (bits & 0x7Fu) << 7);
}

// Maximum and minimum of each half of a word.
STOCKPOT_HD inline uint32_t max_halves(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  return __vmaxu2(a, b);
#else
  const uint32_t low = (a & 0xFFFF) > (b & 0xFFFF) ? a & 0xFFFF : b & 0xFFFF;
  const uint32_t high = a >> 16 > b >> 16 ? a >> 16 : b >> 16;
  return high << 16 | low;
#endif
}
STOCKPOT_HD inline uint32_t min_halves(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  return __vminu2(a, b);
#else
  const uint32_t low = (a & 0xFFFF) < (b & 0xFFFF) ? a & 0xFFFF : b & 0xFFFF;
  const uint32_t high = a >> 16 < b >> 16 ? a >> 16 : b >> 16;
  return high << 16 | low;
#endif
}
// Each half less one; 0 becomes the largest.
STOCKPOT_HD inline uint32_t minus_one_halves(uint32_t a) {
#if defined(__CUDA_ARCH__)
  return __vsub2(a, 0x00010001u);
#else
  return ((a >> 16) - 1) << 16 | ((a - 1) & 0xFFFF);
#endif
}

// q rounded to 24 significant bits and to odd: where bits are lost, the last bit is 1. Rounding the
// result to 22 bits or fewer gives what rounding q at once gives. q is 0 or a normal float32 in
// magnitude, so that the result fits.
STOCKPOT_HD inline float round_to_odd(double q) {
  const uint64_t u = plain::to_bits64(q);
  const uint64_t lost = u & 0x1FFFFFFFu;
  return static_cast<float>(plain::from_bits64((u ^ lost) | (lost ? 0x20000000u : 0)));
}

STOCKPOT_HD inline uint32_t bf16_bits(float f) {
  const uint32_t u = bits_of(f);
  return (u + 0x7FFFu + (u >> 16 & 1)) >> 16;
}

STOCKPOT_HD inline uint32_t f16_bits(float f) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(f));
#else
  bool overflow = false;
  return static_cast<uint32_t>(plain::round_to(DType::kF16, f, &overflow));
#endif
}

// Whether round_bits can round q: 0, or a normal float32 below 2^127.
STOCKPOT_HD inline bool is_ordinary(double q) {
  const uint32_t high = static_cast<uint32_t>(plain::to_bits64(q) >> 32) & 0x7FFFFFFFu;
  return high - 0x38100000u < 0x47E00000u - 0x38100000u || q == 0;
}

// The bits of an ordinary q rounded once to F32, F16 or BF16.
template <DType T>
STOCKPOT_HD inline uint32_t round_bits(double q) {
  if (T == DType::kF32) return bits_of(static_cast<float>(q));
  const float f = round_to_odd(q);
  return T == DType::kBF16 ? bf16_bits(f) : f16_bits(f);
}

}  // namespace stockpot::cuda

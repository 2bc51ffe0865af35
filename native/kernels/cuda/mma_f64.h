#pragma once
// The float64 product of a tensor core: an 8×4 matrix times a 4×8 one, added to an 8×8 one, over
// the 32 lanes of a warp (PTX ISA, mma.sync.m8n8k4 with .f64; from compute capability 8.0 on).
#include <cstdint>

#if defined(STOCKPOT_EMULATED)
#include <cstring>
#endif

namespace stockpot::cuda {

// c += a · b. Lane l gives a[l / 4][l % 4] and b[l % 4][l / 4] and holds c[l / 4][2 (l % 4)] and
// the one beside it. Every product and addition is a fused multiply-add; the order of the four
// additions is the hardware's. Here they come in the order of the index.
#if defined(STOCKPOT_EMULATED)
inline void multiply_add_8x8x4(double* c, double a, double b) {
  const double mine[2] = {a, b};
  const uint8_t* all = emulator::exchange(0xFFFFFFFFu, mine, sizeof(mine));
  const auto given = [all](unsigned lane, int which) {
    double v;
    std::memcpy(&v, all + lane * emulator::kMost + which * sizeof(double), sizeof(v));
    return v;
  };
  const unsigned row = emulator::lane() / 4, column = emulator::lane() % 4 * 2;
  for (unsigned j = 0; j < 2; ++j) {
    for (unsigned i = 0; i < 4; ++i) {
      c[j] = __builtin_fma(given(row * 4 + i, 0), given((column + j) * 4 + i, 1), c[j]);
    }
  }
}
#elif defined(__CUDACC__)
__device__ __forceinline__ void multiply_add_8x8x4(double* c, double a, double b) {
  asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
      : "+d"(c[0]), "+d"(c[1])
      : "d"(a), "d"(b));
}
#endif

}  // namespace stockpot::cuda

#pragma once
// A device that is this processor, for kernels written in CUDA C++: what nvcc and the device bring,
// in the names that the kernels use. Every thread of a block is a fiber; the threads of a block run
// one after the other, in the order of their numbers, each until it ends or waits (at a barrier of
// the block, or for its warp). So whatever reads what another thread has yet to write, or writes
// over what another has yet to read, for want of a barrier gives wrong results here, and what waits
// for a thread that never comes aborts. With EMULATOR_ORDER=reverse in the environment the last
// thread comes first; results must not depend on it.
//
// Compiled with -include emulator.h; nvcc's own headers are not used (cuda_runtime_api.h and others
// in this folder stand in for them).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>

#define STOCKPOT_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __grid_constant__
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Blocks run one at a time, so their shared memory may be the same.
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {

struct Here {
  dim3 thread, block, block_size, grid_size;
};
// Of the running thread of the device.
extern __thread const Here* here;  // not thread_local: GCC's sanitizers stumble over its wrapper

// Runs body() for every thread of every block.
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);
uint8_t* dynamic_shared();
void barrier();
// All lanes of `mask` give `size` bytes; returns where those of lane `l` lie: result + l · kMost.
// To be read before the lane waits again.
constexpr size_t kMost = 64;
const uint8_t* exchange(unsigned mask, const void* mine, size_t size);
// Copies that come with the wait for their group, and not before (cp.async).
void copy_later(void* to, const void* from, size_t size);
void commit_copies();
void wait_copies(size_t groups_left);

template <class T>
T from_lane(unsigned mask, T mine, unsigned lane) {
  static_assert(sizeof(T) <= kMost);
  T out;
  std::memcpy(&out, exchange(mask, &mine, sizeof(T)) + (lane & 31) * kMost, sizeof(T));
  return out;
}
inline unsigned lane() {
  const Here& h = *here;
  return (h.thread.x + h.block_size.x * (h.thread.y + h.block_size.y * h.thread.z)) & 31;
}

}  // namespace emulator

#define threadIdx (emulator::here->thread)
#define blockIdx (emulator::here->block)
#define blockDim (emulator::here->block_size)
#define gridDim (emulator::here->grid_size)

inline void __syncthreads() { emulator::barrier(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { emulator::exchange(mask, "", 1); }
template <class T>
T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
  const unsigned base = emulator::lane() & ~(width - 1u);
  return emulator::from_lane(mask, v, base + (static_cast<unsigned>(lane) & (width - 1u)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32) {
  const unsigned other = emulator::lane() ^ static_cast<unsigned>(by);
  const bool within = (other & ~(width - 1u)) == (emulator::lane() & ~(width - 1u));
  return emulator::from_lane(mask, v, within ? other : emulator::lane());
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned other = emulator::lane() + by;
  const bool within = (other & ~(width - 1u)) == (emulator::lane() & ~(width - 1u));
  return emulator::from_lane(mask, v, within ? other : emulator::lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint8_t one = predicate ? 1 : 0;
  const uint8_t* all = emulator::exchange(mask, &one, 1);
  unsigned bits = 0;
  for (unsigned l = 0; l < 32; ++l) {
    if ((mask >> l & 1) && all[l * emulator::kMost]) bits |= 1u << l;
  }
  return bits;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T v) {
  const uint8_t* all = emulator::exchange(mask, &v, sizeof(T));
  unsigned bits = 0;
  for (unsigned l = 0; l < 32; ++l) {
    if ((mask >> l & 1) && std::memcmp(all + l * emulator::kMost, &v, sizeof(T)) == 0) {
      bits |= 1u << l;
    }
  }
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T v) {
  *p = v;
}
inline float __uint_as_float(unsigned u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
inline unsigned __float_as_uint(float f) {
  unsigned u;
  std::memcpy(&u, &f, 4);
  return u;
}
inline int __float_as_int(float f) { return static_cast<int>(__float_as_uint(f)); }
inline float __int_as_float(int i) { return __uint_as_float(static_cast<unsigned>(i)); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }

template <class T>
const T& min(const T& a, const T& b) {
  return b < a ? b : a;
}
template <class T>
const T& max(const T& a, const T& b) {
  return a < b ? b : a;
}

#pragma once
// The instructions of a warp that feed and run the tensor cores of sm_80 and later: ldmatrix,
// mma.sync.m16n8k16 with float32 sums, and cp.async. On the emulated device each is what the PTX
// ISA says it is ("Matrix Fragments for mma.m16n8k16 with floating point type", "ldmatrix",
// "cp.async").
//
// Where the elements of a matrix lie, with g = lane / 4 and t = lane % 4; of two in a register the
// one of the smaller index is in the lower half:
//   A [16, 16]: a[0] row g, columns 2t, 2t + 1; a[1] row g + 8; a[2], a[3] the same, columns + 8
//   B [16, 8]:  b[0] rows 2t, 2t + 1, column g; b[1] rows + 8
//   C [16, 8]:  c[0], c[1] row g, columns 2t, 2t + 1; c[2], c[3] row g + 8
// So two neighbouring C's, rounded and packed, are an A.
#include "number.h"

namespace stockpot::cuda {

#if defined(STOCKPOT_EMULATED)

namespace emulated {

template <class T>
float half_of(uint32_t pair, unsigned which) {
  T v;
  v.bits = static_cast<uint16_t>(pair >> (16 * which));
  return to_float(v);
}

// Gives each lane its part of four matrices of 8 by 8, row `l % 8` of matrix `l / 8` being lane
// l's.
inline void share_matrices(const void* row, bool transposed, uint32_t (&to)[4]) {
  const uint8_t* all = emulator::exchange(0xFFFFFFFFu, row, 16);
  const unsigned lane = emulator::lane(), g = lane / 4, t = lane % 4;
  for (unsigned m = 0; m < 4; ++m) {
    uint16_t pair[2];
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned from = transposed ? 2 * t + i : g, at = transposed ? g : 2 * t + i;
      std::memcpy(&pair[i], all + (8 * m + from) * emulator::kMost + 2 * at, 2);
    }
    to[m] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
  }
}

}  // namespace emulated

#endif

#if defined(__CUDACC__)
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

// Loads four matrices of 8 rows of 8 two-byte elements from shared memory. `row`: of lane l, row
// l % 8 of matrix l / 8, 16 bytes, aligned to 16. A lane gets of each matrix row g, columns 2t and
// 2t + 1.
__device__ __forceinline__ void load_matrices(const void* row, uint32_t (&to)[4]) {
#if defined(STOCKPOT_EMULATED)
  emulated::share_matrices(row, false, to);
#elif defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

// The same, of each matrix's transpose: rows 2t and 2t + 1, column g.
__device__ __forceinline__ void load_transposed(const void* row, uint32_t (&to)[4]) {
#if defined(STOCKPOT_EMULATED)
  emulated::share_matrices(row, true, to);
#elif defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

// C += A·B. T: __nv_bfloat16 or __half. Products are exact; the order and the rounding of the sum
// of sixteen are the device's (the emulated one rounds once).
template <class T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
#if defined(STOCKPOT_EMULATED)
  struct Part {
    uint32_t a[4], b[2];
  };
  const Part mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const uint8_t* all = emulator::exchange(0xFFFFFFFFu, &mine, sizeof(mine));
  const unsigned lane = emulator::lane(), g = lane / 4, t = lane % 4;
  const auto part = [&](unsigned l) {
    Part p;
    std::memcpy(&p, all + l * emulator::kMost, sizeof(p));
    return p;
  };
  double sum[4] = {c[0], c[1], c[2], c[3]};
  for (unsigned k = 0; k < 16; k += 2) {
    const unsigned from = k % 8 / 2, high = k / 8;  // the lane of a group, the register
    const Part rows = part(4 * g + from);
    for (unsigned j = 0; j < 2; ++j) {
      const Part column = part(4 * (2 * t + j) + from);
      for (unsigned i = 0; i < 2; ++i) {
        const double b = emulated::half_of<T>(column.b[high], i);
        sum[j] += emulated::half_of<T>(rows.a[2 * high], i) * b;
        sum[2 + j] += emulated::half_of<T>(rows.a[2 * high + 1], i) * b;
      }
    }
  }
  for (unsigned i = 0; i < 4; ++i) c[i] = static_cast<float>(sum[i]);
#elif defined(__CUDACC__)
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

// Two numbers, rounded to nearest even, as a register of a fragment.
template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high) {
#if defined(STOCKPOT_EMULATED)
  return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
#elif defined(__CUDACC__)
  uint32_t both;
  if constexpr (std::is_same_v<T, __half>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  }
  return both;
#endif
}

// Starts to copy 16 bytes to shared memory, both aligned to 16, past the first-level cache; zeros
// where `there` is false (`from` is not read, but must be an address of the device's memory). They
// are there for the copying thread after wait_copies, for others after a barrier too.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
#if defined(STOCKPOT_EMULATED)
  emulator::copy_later(to, there ? from : nullptr, 16);
#elif defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
#endif
}

// The copies since the last call become a group.
__device__ __forceinline__ void commit_copies() {
#if defined(STOCKPOT_EMULATED)
  emulator::commit_copies();
#elif defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until no more than the last `kLeft` groups are under way.
template <int kLeft>
__device__ __forceinline__ void wait_copies() {
#if defined(STOCKPOT_EMULATED)
  emulator::wait_copies(kLeft);
#elif defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace stockpot::cuda

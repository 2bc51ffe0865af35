// Products in float32 arithmetic: each element is one chain of fused multiply-adds over k, in
// order, as native/kernels/network_ops.h has it, so a float32 network's products have the
// processor's bits. Blocks of 128 x 128 or, where those are few, 64 x 64 elements of C; a thread
// has 8 x 8 or 4 x 4 of them in registers, in groups of four columns and rows that lie 64 or 32
// apart, so that its reads of shared memory are of 16 bytes without conflicts.
#include "../start.h"
#include "matmul_tile.h"

namespace stockpot::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepth = 16;  // of k at a time
constexpr int kPad = 4;     // floats behind a row of shared memory

// One operand's part: kRows of its rows (of A, or columns of B), kDepth deep, as [kDepth][kRows].
template <class T, int kRows, bool kAcross>
struct Part {
  static constexpr int kFours = kRows * kDepth / 4 / kThreads;
  static_assert(kFours * 4 * kThreads == kRows * kDepth);
  float four[kFours][4];

  static __device__ int row_of(int i) {
    const int at = i * kThreads + static_cast<int>(threadIdx.x);
    return kAcross ? at % (kRows / 4) * 4 : at / (kDepth / 4);
  }
  static __device__ int depth_of(int i) {
    const int at = i * kThreads + static_cast<int>(threadIdx.x);
    return kAcross ? at / (kRows / 4) : at % (kDepth / 4) * 4;
  }
  __device__ void load(const T* x, uint64_t ld, uint64_t first, uint64_t k, uint64_t rows,
                       uint64_t depth, bool aligned) {
    STOCKPOT_UNROLL
    for (int i = 0; i < kFours; ++i) {
      load_four<T, kAcross>(x, ld, first + row_of(i), k + depth_of(i), rows, depth, aligned,
                            four[i]);
    }
  }
  __device__ void store(float (*to)[kRows + kPad]) const {
    STOCKPOT_UNROLL
    for (int i = 0; i < kFours; ++i) {
      STOCKPOT_UNROLL
      for (int j = 0; j < 4; ++j) {
        if (kAcross) {
          to[depth_of(i)][row_of(i) + j] = four[i][j];
        } else {
          to[depth_of(i) + j][row_of(i)] = four[i][j];
        }
      }
    }
  }
};

template <class T, int kTile, bool kAAcross, bool kBAcross>
__global__ void __launch_bounds__(kThreads, 2)
    matmul_kernel(const __grid_constant__ Matmul p, bool a_aligned, bool b_aligned) {
  constexpr int kQuads = kTile / 64;  // groups of four rows, and of four columns, a thread
  __shared__ __align__(16) float a[2][kDepth][kTile + kPad];
  __shared__ __align__(16) float b[2][kDepth][kTile + kPad];
  const uint64_t row = uint64_t{blockIdx.y} * kTile, column = uint64_t{blockIdx.x} * kTile;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const T* pa = static_cast<const T*>(p.a);
  const T* pb = static_cast<const T*>(p.b);

  float sum[kQuads * 4][kQuads * 4];
  STOCKPOT_UNROLL
  for (int i = 0; i < kQuads * 4; ++i) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kQuads * 4; ++j)
      sum[i][j] =
          first_of<T>(p, row + i / 4 * 64 + ty * 4 + i % 4, column + j / 4 * 64 + tx * 4 + j % 4);
  }
  Part<T, kTile, kAAcross> next_a;
  Part<T, kTile, kBAcross> next_b;
  next_a.load(pa, p.lda, row, 0, p.m, p.k, a_aligned);
  next_b.load(pb, p.ldb, column, 0, p.n, p.k, b_aligned);
  int at = 0;
  for (uint64_t k = 0; k < p.k; k += kDepth, at ^= 1) {
    next_a.store(a[at]);
    next_b.store(b[at]);
    __syncthreads();
    if (k + kDepth < p.k) {
      next_a.load(pa, p.lda, row, k + kDepth, p.m, p.k, a_aligned);
      next_b.load(pb, p.ldb, column, k + kDepth, p.n, p.k, b_aligned);
    }
    // A zero behind the end changes no sum but the sign of a zero, as on the processor, which does
    // not go there: so neither is it gone here.
    const int depth = p.k - k < kDepth ? static_cast<int>(p.k - k) : kDepth;
    STOCKPOT_UNROLL
    for (int d = 0; d < kDepth; ++d) {
      if (d >= depth) break;
      float x[kQuads][4], y[kQuads][4];
      STOCKPOT_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        const float4 u = *reinterpret_cast<const float4*>(&a[at][d][q * 64 + ty * 4]);
        const float4 v = *reinterpret_cast<const float4*>(&b[at][d][q * 64 + tx * 4]);
        x[q][0] = u.x, x[q][1] = u.y, x[q][2] = u.z, x[q][3] = u.w;
        y[q][0] = v.x, y[q][1] = v.y, y[q][2] = v.z, y[q][3] = v.w;
      }
      STOCKPOT_UNROLL
      for (int i = 0; i < kQuads * 4; ++i) {
        STOCKPOT_UNROLL
        for (int j = 0; j < kQuads * 4; ++j)
          sum[i][j] = __fmaf_rn(x[i / 4][i % 4], y[j / 4][j % 4], sum[i][j]);
      }
    }
    // The other buffer was last read before the barrier above.
  }
  STOCKPOT_UNROLL
  for (int i = 0; i < kQuads * 4; ++i) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kQuads * 4; ++j)
      finish<T>(p, row + i / 4 * 64 + ty * 4 + i % 4, column + j / 4 * 64 + tx * 4 + j % 4,
                sum[i][j]);
  }
}

template <class T, int kTile>
cudaError_t launch(const Matmul& p, cudaStream_t stream) {
  const uint64_t down = (p.m + kTile - 1) / kTile, right = (p.n + kTile - 1) / kTile;
  const Start s{dim3(static_cast<unsigned>(right), static_cast<unsigned>(down)), kThreads, stream};
  const bool a = aligned_four<T>(p.a, p.lda), b = aligned_four<T>(p.b, p.ldb);
  const bool b_across = !p.b_transposed;  // its columns lie together
  if (p.a_transposed) {
    return b_across ? start(matmul_kernel<T, kTile, true, true>, s, p, a, b)
                    : start(matmul_kernel<T, kTile, true, false>, s, p, a, b);
  }
  return b_across ? start(matmul_kernel<T, kTile, false, true>, s, p, a, b)
                  : start(matmul_kernel<T, kTile, false, false>, s, p, a, b);
}

}  // namespace

cudaError_t matmul(const Matmul& p, cudaStream_t stream) {
  if (p.m == 0 || p.n == 0) return cudaSuccess;
  constexpr uint64_t kMostRows = 65535 * 64;  // of a grid
  if (p.m > kMostRows) {
    Matmul first = p, rest = p;
    first.m = kMostRows;
    rest.m = p.m - kMostRows;
    const uint64_t item = byte_size(p.number), c_item = p.c_float ? 4 : item;
    rest.a = static_cast<const uint8_t*>(p.a) + kMostRows * (p.a_transposed ? 1 : p.lda) * item;
    rest.c = static_cast<uint8_t*>(p.c) + kMostRows * p.ldc * c_item;
    if (p.residual)
      rest.residual = static_cast<const uint8_t*>(p.residual) + kMostRows * p.ldc * c_item;
    const cudaError_t e = matmul(first, stream);
    return e == cudaSuccess ? matmul(rest, stream) : e;
  }
  // A choice by the sizes alone; the sums are the same.
  const bool large = ((p.m + 127) / 128) * ((p.n + 127) / 128) >= 128;
  return with_type(p.number, [&](auto t) {
    using T = decltype(t);
    return large ? launch<T, 128>(p, stream) : launch<T, 64>(p, stream);
  });
}

}  // namespace stockpot::cuda

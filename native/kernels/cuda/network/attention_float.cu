// Attention of float32: as attention_forward.cu, with fused multiply-adds instead of tensor cores.
#include "../start.h"
#include "attention_float_tiles.h"

namespace stockpot::cuda {
namespace {

constexpr int kDown = 16, kThreads = kAcross * kDown;

template <int kWidth>
struct Forward {
  static constexpr int kRows = kWidth <= 128 ? 64 : 32;
  static constexpr int kKeys = kWidth <= 64 ? 64 : kWidth <= 128 ? 32 : 16;
  static constexpr size_t kShared =
      4 * (size_t{float_stride(kWidth)} * (kRows + 2 * kKeys) + kRows * float_stride(kKeys));
  static_assert(kShared <= kMostShared);
};

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ Attention a, float* out, float* log_sums, bool pieces) {
  using F = Forward<kWidth>;
  constexpr int kKeys = F::kKeys, kR = F::kRows / kDown, kC = kKeys / kAcross;
  const Place place = place_of(a, blockIdx.x, a.groups, a.queries, F::kRows);
  const uint32_t x = threadIdx.x % kAcross, y = threadIdx.x / kAcross;
  float* q_tile = reinterpret_cast<float*>(dynamic_shared());
  float* k_tile = q_tile + F::kRows * float_stride(kWidth);
  float* v_tile = k_tile + kKeys * float_stride(kWidth);
  float* p_tile = v_tile + kKeys * float_stride(kWidth);

  const uint64_t q_row = query_row(a, place.example, place.group);
  const uint64_t kv_row = key_row(a, place.example, place.group);
  const uint32_t column = place.head * a.width;
  const FloatRows q{element<float>(a.q, q_row, a.q_ld, column), a.q_ld, a.width, pieces};
  const FloatRows k{element<float>(a.k, kv_row, a.k_ld, column), a.k_ld, a.width, pieces};
  const FloatRows v{element<float>(a.v, kv_row, a.v_ld, column), a.v_ld, a.width, pieces};
  const Scores scores(a, place.example, place.head);
  const uint32_t block_end = min(place.first + F::kRows, a.queries);
  const uint32_t keys = a.causal ? min(a.keys, block_end) : a.keys;

  float sums[kR][kWidth / kAcross] = {}, largest[kR], total[kR] = {};
#pragma unroll
  for (int r = 0; r < kR; ++r) largest[r] = -INFINITY;

  load_floats<F::kRows, kWidth, kThreads>(q_tile, q, place.first, block_end - place.first);
  for (uint32_t from = 0; from < keys; from += kKeys) {
    const uint32_t left = min(keys - from, uint32_t{kKeys});
    load_floats<kKeys, kWidth, kThreads>(k_tile, k, from, left);
    commit_copies();
    load_floats<kKeys, kWidth, kThreads>(v_tile, v, from, left);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    float s[kR][kC];
    float_products<kWidth, kDown>(q_tile, k_tile, x, y, s);
#pragma unroll
    for (int r = 0; r < kR; ++r) {
      float most = largest[r];
#pragma unroll
      for (int c = 0; c < kC; ++c) {
        s[r][c] = scores(s[r][c], place.first + y + kDown * r, from + x + kAcross * c);
        most = fmaxf(most, s[r][c]);
      }
      most = lanes_max<4>(most);
      // A row of nothing but -infinity stays at zero.
      const float offset = most == -INFINITY ? 0.0f : most;
      const float worth = exp_below(largest[r] - offset);
      largest[r] = most;
      total[r] *= worth;
#pragma unroll
      for (int c = 0; c < kC; ++c) {
        const float p = exp_below(s[r][c] - offset);
        total[r] += p;
        p_tile[(y + kDown * r) * float_stride(kKeys) + x + kAcross * c] = p;
      }
#pragma unroll
      for (int i = 0; i < kWidth / kAcross; ++i) sums[r][i] *= worth;
    }
    wait_copies<0>();
    __syncthreads();
    add_weighted<kWidth, kKeys, kDown>(p_tile, v_tile, x, y, sums);
    __syncthreads();
  }
  const uint64_t out_ld = uint64_t{a.heads} * a.width;
  float* log_sum = log_sums + (log_sums ? sum_row(a, place.example, place.group, place.head) : 0);
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const float sum = lanes_sum<4>(total[r]);
    const uint32_t row = place.first + y + kDown * r;
    if (row >= a.queries) continue;
    store_floats<kWidth>(sums[r], sum == 0.0f ? 0.0f : __fdiv_rn(1.0f, sum), x, a.width, false,
                         out + (q_row + row) * out_ld + column);
    if (log_sums && x == 0) log_sum[row] = sum == 0.0f ? -INFINITY : largest[r] + logf(sum);
  }
}

}  // namespace

cudaError_t attention_float(const Attention& a, float* out, float* log_sums, cudaStream_t stream) {
  const bool pieces = in_float_pieces(a.q, a.q_ld) && in_float_pieces(a.k, a.k_ld) &&
                      in_float_pieces(a.v, a.v_ld) && a.width % 4 == 0;
  return with_width(a.width, [&](auto width) {
    constexpr int kWidth = even_width(decltype(width)::value);
    using F = Forward<kWidth>;
    const uint64_t blocks =
        uint64_t{a.examples} * a.groups * a.heads * ((a.queries + F::kRows - 1) / F::kRows);
    if (blocks == 0) return cudaSuccess;
    return start(forward_kernel<kWidth>,
                 {static_cast<unsigned>(blocks), kThreads, stream, F::kShared}, a, out, log_sums,
                 pieces);
  });
}

}  // namespace stockpot::cuda

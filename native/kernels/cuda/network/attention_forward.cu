// Attention of bfloat16 and float16 on tensor cores (Dao 2023, "FlashAttention-2"): a warp has 16
// or 32 queries, a block four warps, and all go through the keys tile by tile. While a tile of keys
// is multiplied the values' comes, and while that one is multiplied the next of the keys.
#include "../start.h"
#include "attention_tiles.h"

namespace stockpot::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;

// kTiles: of 16 queries, that a warp has; two, so that what it loads of the keys is used twice.
template <class T, int kWidth, int kTiles>
struct Forward {
  static constexpr int kRows = 16 * kTiles * kWarps;
  // As many as leave the sums in registers.
  static constexpr int kKeys = kWidth <= (kTiles == 2 ? 96 : 128) ? 64 : kWidth <= 192 ? 32 : 16;
  static constexpr size_t kShared = tile_bytes<kWidth>(kRows + 2 * kKeys);
  static_assert(kShared <= kMostShared);
};

template <class T, int kWidth, int kTiles>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ Attention a, T* out, float* log_sums, bool pieces) {
  using F = Forward<T, kWidth, kTiles>;
  constexpr int kKeys = F::kKeys, kStep = kStride<kWidth>;
  const Place place = place_of(a, blockIdx.x, a.groups, a.queries, F::kRows);
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  T* q_tile = reinterpret_cast<T*>(dynamic_shared());
  T* k_tile = q_tile + F::kRows * kStep;
  T* v_tile = k_tile + kKeys * kStep;

  const uint64_t q_row = query_row(a, place.example, place.group);
  const uint64_t kv_row = key_row(a, place.example, place.group);
  const uint32_t column = place.head * a.width;
  const HeadRows<T> q{element<T>(a.q, q_row, a.q_ld, column), a.q_ld, a.width, pieces};
  const HeadRows<T> k{element<T>(a.k, kv_row, a.k_ld, column), a.k_ld, a.width, pieces};
  const HeadRows<T> v{element<T>(a.v, kv_row, a.v_ld, column), a.v_ld, a.width, pieces};
  const Scores scores(a, place.example, place.head);
  const float factor = scores.plain ? a.scale * kLog2E : kLog2E;

  const uint32_t block_end = min(place.first + F::kRows, a.queries);
  const uint32_t keys = a.causal ? min(a.keys, block_end) : a.keys;
  const uint32_t first = place.first + warp * 16 * kTiles;  // of the warp's queries
  T* own = q_tile + warp * 16 * kTiles * kStep;
  const T* q_lane = own + lane_by_rows<kWidth>(lane);
  const T* k_lane = k_tile + lane_by_columns<kWidth>(lane);
  const T* v_lane = v_tile + lane_by_rows<kWidth>(lane);

  float sums[kTiles][kWidth / 8][4], largest[kTiles][2], total[kTiles][2];
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0f;
    }
    largest[m][0] = largest[m][1] = -INFINITY;
    total[m][0] = total[m][1] = 0.0f;
  }

  load_tile<F::kRows, kWidth, kThreads>(q_tile, q, place.first, block_end - place.first);
  load_tile<kKeys, kWidth, kThreads>(k_tile, k, 0, min(keys, uint32_t{kKeys}));
  commit_copies();
  for (uint32_t from = 0; from < keys; from += kKeys) {
    const uint32_t left = min(keys - from, uint32_t{kKeys});
    wait_copies<0>();
    __syncthreads();
    load_tile<kKeys, kWidth, kThreads>(v_tile, v, from, left);
    commit_copies();
    const bool active = first < a.queries && (!a.causal || from < first + 16 * kTiles);
    float s[kTiles][kKeys / 8][4];
    if (active) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) s[m][n][i] = 0.0f;
        }
      }
#pragma unroll
      for (int step = 0; step < kWidth; step += 16) {
        uint32_t queries[kTiles][4];
#pragma unroll
        for (int m = 0; m < kTiles; ++m) load_matrices(q_lane + m * 16 * kStep + step, queries[m]);
#pragma unroll
        for (int n = 0; n < kKeys; n += 16) {
          if (n >= static_cast<int>(left)) break;
          uint32_t b[4];
          load_matrices(k_lane + n * kStep + step, b);
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
            multiply_add<T>(s[m][n / 8], queries[m], b[0], b[1]);
            multiply_add<T>(s[m][n / 8 + 1], queries[m], b[2], b[3]);
          }
        }
      }
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        // With what is hidden at -infinity, the largest of each row, and what the sums so far are
        // then worth.
        if (!scores.plain || left < kKeys) {
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const uint32_t row = first + m * 16 + g + i / 2 * 8;
              const uint32_t key = from + n * 8 + 2 * t + i % 2;
              if (!scores.plain) {
                s[m][n][i] = scores(s[m][n][i], row, key);
              } else if (key >= keys) {
                s[m][n][i] = -INFINITY;
              }
            }
          }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float most = largest[m][half];
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
            most = fmaxf(most, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
          }
          most = lanes_max<2>(most);
          // A row of nothing but -infinity stays at zero.
          const float offset = most == -INFINITY ? 0.0f : most * factor;
          const float worth = exp2_fast(fmaf(largest[m][half], factor, -offset));
          largest[m][half] = most;
          float sum = total[m][half] * worth;
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
              s[m][n][i] = exp2_fast(fmaf(s[m][n][i], factor, -offset));
              sum += s[m][n][i];
            }
          }
          total[m][half] = sum;
#pragma unroll
          for (int n = 0; n < kWidth / 8; ++n) {
            sums[m][n][2 * half] *= worth;
            sums[m][n][2 * half + 1] *= worth;
          }
        }
      }
    }
    wait_copies<0>();
    __syncthreads();
    const uint32_t next = from + kKeys;
    if (next < keys) {
      load_tile<kKeys, kWidth, kThreads>(k_tile, k, next, min(keys - next, uint32_t{kKeys}));
      commit_copies();
    }
    if (!active) continue;
#pragma unroll
    for (int n = 0; n < kKeys; n += 16) {
      if (n >= static_cast<int>(left)) break;
      uint32_t p[kTiles][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m) pack_columns<T>(s[m][n / 8], s[m][n / 8 + 1], p[m]);
#pragma unroll
      for (int c = 0; c < kWidth; c += 16) {
        uint32_t b[4];
        load_transposed(v_lane + n * kStep + c, b);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          multiply_add<T>(sums[m][c / 8], p[m], b[0], b[1]);
          multiply_add<T>(sums[m][c / 8 + 1], p[m], b[2], b[3]);
        }
      }
    }
  }
  if (first >= a.queries) return;
  const uint64_t out_ld = uint64_t{a.heads} * a.width;
  const HeadOutput<T> to{out + q_row * out_ld + column, out_ld, a.width, a.queries, pieces, false};
  float* log_sum = log_sums + (log_sums ? sum_row(a, place.example, place.group, place.head) : 0);
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = lanes_sum<2>(total[m][half]);
      const float by = sum == 0.0f ? 0.0f : __fdiv_rn(1.0f, sum);
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) {
        sums[m][n][2 * half] *= by;
        sums[m][n][2 * half + 1] *= by;
      }
      const uint32_t row = first + m * 16 + g + half * 8;
      if (log_sums && t == 0 && row < a.queries) {
        log_sum[row] = sum == 0.0f ? -INFINITY : largest[m][half] * factor * kLn2 + logf(sum);
      }
    }
    store_sums<kWidth>(sums[m], own + m * 16 * kStep, first + m * 16, to);
  }
}

template <class T, int kWidth, int kTiles>
cudaError_t launch(const Attention& a, T* out, float* log_sums, cudaStream_t stream) {
  using F = Forward<T, kWidth, kTiles>;
  const bool pieces = in_pieces(a.q, a.q_ld) && in_pieces(a.k, a.k_ld) && in_pieces(a.v, a.v_ld) &&
                      in_pieces(out, uint64_t{a.heads} * a.width) && a.width % 8 == 0;
  const uint64_t blocks =
      uint64_t{a.examples} * a.groups * a.heads * ((a.queries + F::kRows - 1) / F::kRows);
  if (blocks == 0) return cudaSuccess;
  return start(forward_kernel<T, kWidth, kTiles>,
               {static_cast<unsigned>(blocks), kThreads, stream, F::kShared}, a, out, log_sums,
               pieces);
}

}  // namespace

template <class T>
cudaError_t attention_matrix(const Attention& a, T* out, float* log_sums, cudaStream_t stream) {
  return with_width(a.width, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    if constexpr (kWidth <= 128) {
      if (a.queries > 16 * kWarps) return launch<T, kWidth, 2>(a, out, log_sums, stream);
    }
    return launch<T, kWidth, 1>(a, out, log_sums, stream);
  });
}

template cudaError_t attention_matrix(const Attention&, __half*, float*, cudaStream_t);
template cudaError_t attention_matrix(const Attention&, __nv_bfloat16*, float*, cudaStream_t);

}  // namespace stockpot::cuda

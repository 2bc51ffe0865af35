// The derivatives of attention of float32: as attention_backward.cu, with fused multiply-adds.
#include "../start.h"
#include "attention_float_tiles.h"
#include "attention_table.h"

namespace stockpot::cuda {
namespace {

constexpr int kDown = 8, kThreads = kAcross * kDown;

template <int kWidth>
struct Shape {
  static constexpr int kRows = query_rows(Number::kF32, kWidth), kColumns = kRows;
  static constexpr size_t kShared =
      4 * size_t{kRows} * (4 * float_stride(kWidth) + 2 * float_stride(kColumns));
  static_assert(kShared + (has_table_room(Number::kF32, kWidth) ? table_bytes(kMostBuckets) : 0) <=
                kMostShared);
};

struct Side {
  FloatRows first, second;
};

__device__ Side query_side(const Attention& a, const void* dout, const Place& p, uint32_t group,
                           bool pieces) {
  const uint64_t row = query_row(a, p.example, group), out_ld = uint64_t{a.heads} * a.width;
  const uint32_t column = p.head * a.width;
  return {{element<float>(a.q, row, a.q_ld, column), a.q_ld, a.width, pieces},
          {element<float>(dout, row, out_ld, column), out_ld, a.width, pieces}};
}
__device__ Side key_side(const Attention& a, const Place& p, uint32_t group, bool pieces) {
  const uint64_t row = key_row(a, p.example, group);
  const uint32_t column = p.head * a.width;
  return {{element<float>(a.k, row, a.k_ld, column), a.k_ld, a.width, pieces},
          {element<float>(a.v, row, a.v_ld, column), a.v_ld, a.width, pieces}};
}

// kQuery: rows are queries, for dQ; else keys, for dK and dV.
template <int kWidth, bool kQuery>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ Attention a, const __grid_constant__ Backward b,
                    bool pieces) {
  using S = Shape<kWidth>;
  constexpr int kRows = S::kRows, kColumns = S::kColumns, kStep = float_stride(kWidth);
  constexpr int kR = kRows / kDown, kC = kColumns / kAcross, kMine = kWidth / kAcross;
  const AttentionGradient& gradient = b.gradient;
  const uint32_t x = threadIdx.x % kAcross, y = threadIdx.x / kAcross;
  const uint32_t row_groups = !kQuery && a.shared_kv ? 1 : a.groups;
  const uint32_t rows = kQuery ? a.queries : a.keys, columns = kQuery ? a.keys : a.queries;
  const Place place = place_of(a, blockIdx.x, row_groups, rows, kRows);

  float* a_tile = reinterpret_cast<float*>(dynamic_shared());
  float* a2_tile = a_tile + kRows * kStep;
  float* b_tile = a2_tile + kRows * kStep;
  float* b2_tile = b_tile + kColumns * kStep;
  float* p_tile = b2_tile + kColumns * kStep;
  float* ds_tile = p_tile + kRows * float_stride(kColumns);
  const uint32_t row_tiles = (rows + kRows - 1) / kRows;
  TableSums table(a, kQuery ? b.tables : nullptr, place,
                  place.group * row_tiles + place.first / kRows, row_groups * row_tiles,
                  ds_tile + kRows * float_stride(kColumns));

  const Side row_side = kQuery ? query_side(a, gradient.dout, place, place.group, pieces)
                               : key_side(a, place, place.group, pieces);
  const Scores scores(a, place.example, place.head);
  const uint32_t block_end = min(place.first + kRows, rows);

  float sums[kR][kMine] = {}, sums2[kQuery ? 1 : kR][kMine] = {};
  const uint32_t begin = !kQuery && a.causal ? min(place.first / kColumns * kColumns, columns) : 0;
  const uint32_t end = kQuery && a.causal ? min(columns, block_end) : columns;
  const uint32_t groups = !kQuery && a.shared_kv ? a.groups : 1;
  load_floats<kRows, kWidth, kThreads>(a_tile, row_side.first, place.first,
                                       block_end - place.first);
  load_floats<kRows, kWidth, kThreads>(a2_tile, row_side.second, place.first,
                                       block_end - place.first);
  for (uint32_t of = 0; of < groups; ++of) {
    const uint32_t group = groups > 1 ? of : place.group;
    const Side side = kQuery ? key_side(a, place, group, pieces)
                             : query_side(a, gradient.dout, place, group, pieces);
    const uint64_t at = sum_row(a, place.example, group, place.head);
    for (uint32_t from = begin; from < end; from += kColumns) {
      const uint32_t left = min(end - from, uint32_t{kColumns});
      load_floats<kColumns, kWidth, kThreads>(b_tile, side.first, from, left);
      load_floats<kColumns, kWidth, kThreads>(b2_tile, side.second, from, left);
      commit_copies();
      wait_copies<0>();
      __syncthreads();
      float s[kR][kC], ds[kR][kC];
      float_products<kWidth, kDown>(a_tile, b_tile, x, y, s);
      float_products<kWidth, kDown>(a2_tile, b2_tile, x, y, ds);
#pragma unroll
      for (int r = 0; r < kR; ++r) {
#pragma unroll
        for (int c = 0; c < kC; ++c) {
          const uint32_t row = y + kDown * r, column = x + kAcross * c;
          const uint32_t query = kQuery ? place.first + row : from + column;
          const uint32_t key = kQuery ? from + column : place.first + row;
          const float score = scores(s[r][c], query, key);
          const bool seen = score != -INFINITY && gradient.log_sums[at + query] != -INFINITY;
          const float p = seen ? exp_below(score - gradient.log_sums[at + query]) : 0.0f;
          const float d = seen ? p * (ds[r][c] - b.delta[at + query]) : 0.0f;
          if constexpr (kQuery) {
            if (table) {
              const bool there = query < a.queries && key < a.keys;
              table.add(there ? a.bucket[uint64_t{query} * a.keys + key] : -1, d);
            }
          } else {
            p_tile[row * float_stride(kColumns) + column] = p;
          }
          ds_tile[row * float_stride(kColumns) + column] = d * a.scale;
        }
      }
      __syncwarp();  // a row is a half warp's
      add_weighted<kWidth, kColumns, kDown>(ds_tile, b_tile, x, y, sums);
      if constexpr (!kQuery) add_weighted<kWidth, kColumns, kDown>(p_tile, b2_tile, x, y, sums2);
      __syncthreads();
    }
  }
  wait_copies<0>();
  if constexpr (kQuery) table.template finish<kThreads / kWarp>();
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const uint32_t row = place.first + y + kDown * r;
    if (row >= rows) continue;
    const auto store = [&](const float(&sum)[kMine], void* to, uint64_t first, uint64_t ld,
                           bool add) {
      if (!to) return;
      store_floats<kWidth>(sum, 1.0f, x, a.width, add,
                           static_cast<float*>(to) + (first + row) * ld + place.head * a.width);
    };
    if constexpr (kQuery) {
      store(sums[r], gradient.dq, query_row(a, place.example, place.group), a.q_ld, gradient.add_q);
    } else {
      const uint64_t first = key_row(a, place.example, place.group);
      store(sums[r], gradient.dk, first, a.k_ld, gradient.add_k);
      store(sums2[r], gradient.dv, first, a.v_ld, gradient.add_v);
    }
  }
}

template <int kWidth, bool kQuery>
cudaError_t launch(const Attention& a, const Backward& b, bool pieces, cudaStream_t stream) {
  using S = Shape<kWidth>;
  const uint32_t rows = kQuery ? a.queries : a.keys;
  const uint32_t groups = !kQuery && a.shared_kv ? 1 : a.groups;
  const uint64_t blocks =
      uint64_t{a.examples} * groups * a.heads * ((rows + S::kRows - 1) / S::kRows);
  if (blocks == 0) return cudaSuccess;
  const size_t shared = S::kShared + (kQuery ? table_room(a, b) : 0);
  return start(backward_kernel<kWidth, kQuery>,
               {static_cast<unsigned>(blocks), kThreads, stream, shared}, a, b, pieces);
}

}  // namespace

cudaError_t attention_float_gradient(const Attention& a, const Backward& b, cudaStream_t stream) {
  const AttentionGradient& g = b.gradient;
  const bool pieces = in_float_pieces(a.q, a.q_ld) && in_float_pieces(a.k, a.k_ld) &&
                      in_float_pieces(a.v, a.v_ld) &&
                      in_float_pieces(g.dout, uint64_t{a.heads} * a.width) && a.width % 4 == 0;
  return with_width(a.width, [&](auto width) {
    constexpr int kWidth = even_width(decltype(width)::value);
    if (g.dq || b.tables) {
      const cudaError_t e = launch<kWidth, true>(a, b, pieces, stream);
      if (e != cudaSuccess) return e;
    }
    if (!g.dk && !g.dv) return cudaSuccess;
    return launch<kWidth, false>(a, b, pieces, stream);
  });
}

}  // namespace stockpot::cuda

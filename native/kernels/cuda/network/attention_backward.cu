// The derivatives of attention of bfloat16 and float16 on tensor cores. With P = softmax(S), S =
// scale · Q·Kᵀ + bias, computed again from S and its kept log-sums: dV = Pᵀ·dO, dP = dO·Vᵀ,
// dS = P ∘ (dP - delta), dQ = scale · dS·K, dK = scale · dSᵀ·Q (Dao 2023, algorithm 2). One kernel
// has queries as rows and goes through the keys, for dQ; one has keys as rows and goes through the
// queries, for dK and dV, so that no sum has more than one writer. Both are this one.
#include "../start.h"
#include "attention_table.h"
#include "attention_tiles.h"

namespace stockpot::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp, kRows = 16 * kWarps;
static_assert(kRows == query_rows(Number::kBF16, 64));

template <int kWidth>
struct Shape {
  static constexpr int kColumns = kWidth <= 64 ? 64 : kWidth <= 128 ? 32 : 16;  // of a tile
  static constexpr int kChunk = kColumns < 32 ? kColumns : 32;  // that are in registers at a time
  static constexpr size_t kShared = tile_bytes<kWidth>(2 * kRows + 4 * kColumns);
  // Two sums of a row of more than this do not fit into registers: dK and dV get a block each.
  static constexpr bool kSplit = kWidth > 128;
  static_assert(kShared + (has_table_room(Number::kBF16, kWidth) ? table_bytes(kMostBuckets) : 0) <=
                kMostShared);
};

// One side of the scores: queries and dout, or keys and values.
template <class T>
struct Side {
  HeadRows<T> first, second;
};

template <class T>
__device__ Side<T> query_side(const Attention& a, const void* dout, const Place& p, uint32_t group,
                              bool pieces) {
  const uint64_t row = query_row(a, p.example, group), out_ld = uint64_t{a.heads} * a.width;
  const uint32_t column = p.head * a.width;
  return {{element<T>(a.q, row, a.q_ld, column), a.q_ld, a.width, pieces},
          {element<T>(dout, row, out_ld, column), out_ld, a.width, pieces}};
}
template <class T>
__device__ Side<T> key_side(const Attention& a, const Place& p, uint32_t group, bool pieces) {
  const uint64_t row = key_row(a, p.example, group);
  const uint32_t column = p.head * a.width;
  return {{element<T>(a.k, row, a.k_ld, column), a.k_ld, a.width, pieces},
          {element<T>(a.v, row, a.v_ld, column), a.v_ld, a.width, pieces}};
}

// A query's log-sum in base 2, +infinity where it sees nothing or is none: all its probabilities
// are 0 then.
__device__ __forceinline__ float log2_sum(const float* log_sums, uint32_t i, uint32_t queries) {
  const float l = i < queries ? log_sums[i] : -INFINITY;
  return l == -INFINITY ? INFINITY : l * kLog2E;
}
__device__ __forceinline__ float delta_of(const float* delta, uint32_t i, uint32_t queries) {
  return i < queries ? delta[i] : 0.0f;
}

enum class Wanted { kQuery, kKeyAndValue, kKeyOrValue };

template <class T, int kWidth, Wanted kWanted>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ Attention a, const __grid_constant__ Backward b,
                    bool pieces) {
  using S = Shape<kWidth>;
  constexpr bool kQuery = kWanted == Wanted::kQuery, kBoth = kWanted == Wanted::kKeyAndValue;
  constexpr int kColumns = S::kColumns, kChunk = S::kChunk, kStep = kStride<kWidth>;
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const AttentionGradient& gradient = b.gradient;
  // Of two blocks with the same rows one does dK, one dV.
  const bool value_only = kWanted == Wanted::kKeyOrValue && blockIdx.x % 2 == 1;
  const uint32_t block = kWanted == Wanted::kKeyOrValue ? blockIdx.x / 2 : blockIdx.x;
  const uint32_t row_groups = !kQuery && a.shared_kv ? 1 : a.groups;
  const uint32_t rows = kQuery ? a.queries : a.keys, columns = kQuery ? a.keys : a.queries;
  const Place place = place_of(a, block, row_groups, rows, kRows);

  T* a_tile = reinterpret_cast<T*>(dynamic_shared());
  T* a2_tile = a_tile + kRows * kStep;
  T* b_tiles = a2_tile + kRows * kStep;  // two stages of two tiles
  const uint32_t row_tiles = (rows + kRows - 1) / kRows;
  TableSums table(a, kQuery ? b.tables : nullptr, place,
                  place.group * row_tiles + place.first / kRows, row_groups * row_tiles,
                  b_tiles + 4 * kColumns * kStep);

  const Side<T> row_side = kQuery ? query_side<T>(a, gradient.dout, place, place.group, pieces)
                                  : key_side<T>(a, place, place.group, pieces);
  const Scores scores(a, place.example, place.head);
  const float factor = scores.plain ? a.scale * kLog2E : kLog2E;
  const uint32_t first = place.first + warp * 16;  // of the warp's rows
  const uint32_t block_end = min(place.first + kRows, rows);

  float sums[kWidth / 8][4], sums2[kBoth ? kWidth / 8 : 1][4];
#pragma unroll
  for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sums[n][i] = 0.0f;
      if constexpr (kBoth) sums2[n][i] = 0.0f;
    }
  }
  // Of the queries, where they are rows.
  float row_log[2], row_delta[2];
  if constexpr (kQuery) {
    const uint64_t at = sum_row(a, place.example, place.group, place.head);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      row_log[half] = log2_sum(gradient.log_sums + at, first + g + 8 * half, rows);
      row_delta[half] = delta_of(b.delta + at, first + g + 8 * half, rows);
    }
  }

  // The tiles of columns that can be seen, of all groups that share the rows.
  const uint32_t begin = !kQuery && a.causal ? min(place.first / kColumns * kColumns, columns) : 0;
  const uint32_t end = kQuery && a.causal ? min(columns, block_end) : columns;
  const uint32_t tiles = (end - begin + kColumns - 1) / kColumns;
  const uint32_t groups = !kQuery && a.shared_kv ? a.groups : 1;
  const auto load = [&](uint32_t n) {
    const uint32_t group = groups > 1 ? n / tiles : place.group;
    const uint32_t from = begin + n % tiles * kColumns;
    const uint32_t left = min(end - from, uint32_t{kColumns});
    const Side<T> side = kQuery ? key_side<T>(a, place, group, pieces)
                                : query_side<T>(a, gradient.dout, place, group, pieces);
    T* to = b_tiles + n % 2 * 2 * kColumns * kStep;
    load_tile<kColumns, kWidth, kThreads>(to, side.first, from, left);
    load_tile<kColumns, kWidth, kThreads>(to + kColumns * kStep, side.second, from, left);
  };
  load_tile<kRows, kWidth, kThreads>(a_tile, row_side.first, place.first, block_end - place.first);
  load_tile<kRows, kWidth, kThreads>(a2_tile, row_side.second, place.first,
                                     block_end - place.first);
  if (tiles > 0) load(0);
  commit_copies();
  const uint32_t all = groups * tiles;
  for (uint32_t n = 0; n < all; ++n) {
    wait_copies<0>();
    __syncthreads();
    if (n + 1 < all) load(n + 1);
    commit_copies();
    const uint32_t group = groups > 1 ? n / tiles : place.group;
    const uint32_t from = begin + n % tiles * kColumns;
    const uint32_t left = min(end - from, uint32_t{kColumns});
    if (first >= rows || (a.causal && (kQuery ? from > first + 15 : from + left <= first)))
      continue;
    const T* b_tile = b_tiles + n % 2 * 2 * kColumns * kStep;
    const T* b2_tile = b_tile + kColumns * kStep;
    const uint64_t at = sum_row(a, place.example, group, place.head);
#pragma unroll 1
    for (uint32_t chunk = 0; chunk < left; chunk += kChunk) {
      const uint32_t here = min(left - chunk, uint32_t{kChunk});
      float s[kChunk / 8][4], ds[kChunk / 8][4];
#pragma unroll
      for (int c = 0; c < kChunk / 8; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[c][i] = ds[c][i] = 0.0f;
      }
      const T* b_columns = b_tile + chunk * kStep + lane_by_columns<kWidth>(lane);
      const T* b2_columns = b2_tile + chunk * kStep + lane_by_columns<kWidth>(lane);
      const uint32_t own = warp * 16 * kStep + lane_by_rows<kWidth>(lane);
      multiply_rows<kWidth, kChunk>(a_tile + own, b_columns, here, s);
      if (!value_only) multiply_rows<kWidth, kChunk>(a2_tile + own, b2_columns, here, ds);
        // s becomes P, ds dS.
#pragma unroll
      for (int c = 0; c < kChunk / 8; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const uint32_t row = first + g + i / 2 * 8;
          const uint32_t column = from + chunk + 8 * c + 2 * t + i % 2;
          const uint32_t query = kQuery ? row : column, key = kQuery ? column : row;
          float log = 0.0f, delta = 0.0f;
          if constexpr (kQuery) {
            log = row_log[i / 2], delta = row_delta[i / 2];
          } else {
            log = log2_sum(gradient.log_sums + at, query, columns);
            delta = delta_of(b.delta + at, query, columns);
          }
          float score = s[c][i];
          if (!scores.plain) {
            score = scores(score, query, key);
          } else if (kQuery && column >= columns) {
            score = -INFINITY;
          }
          const float p = exp2_fast(fmaf(score, factor, -log));
          s[c][i] = p;
          ds[c][i] = p * (ds[c][i] - delta);
          if constexpr (kQuery) {
            if (table) {
              const bool seen = row < rows && column < columns;
              table.add(seen ? a.bucket[uint64_t{row} * columns + column] : -1, ds[c][i]);
            }
          }
        }
      }
      const T* b_rows = b_tile + chunk * kStep + lane_by_rows<kWidth>(lane);
      const T* b2_rows = b2_tile + chunk * kStep + lane_by_rows<kWidth>(lane);
#pragma unroll
      for (int c = 0; c < kChunk; c += 16) {
        if (c >= static_cast<int>(here)) break;
        uint32_t left_hand[4];
        if constexpr (kBoth) {
          pack_columns<T>(s[c / 8], s[c / 8 + 1], left_hand);
          multiply_columns<kWidth>(left_hand, b2_rows + c * kStep, sums2);
        }
        if (value_only) {
          pack_columns<T>(s[c / 8], s[c / 8 + 1], left_hand);
        } else {
          pack_columns<T>(ds[c / 8], ds[c / 8 + 1], left_hand);
        }
        multiply_columns<kWidth>(left_hand, (value_only ? b2_rows : b_rows) + c * kStep, sums);
      }
    }
  }
  wait_copies<0>();
  if constexpr (kQuery) table.template finish<kWarps>();
  if (first >= rows) return;
  if (!value_only) {
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] *= a.scale;
    }
  }
  const auto output = [&](void* base, uint64_t row, uint64_t ld, bool add) {
    T* data = static_cast<T*>(base) + row * ld + place.head * a.width;
    return HeadOutput<T>{data, ld, a.width, rows, pieces, add};
  };
  T* own = a_tile + warp * 16 * kStep;
  if constexpr (kQuery) {
    const uint64_t row = query_row(a, place.example, place.group);
    if (gradient.dq) {
      store_sums<kWidth>(sums, own, first, output(gradient.dq, row, a.q_ld, gradient.add_q));
    }
  } else {
    const uint64_t row = key_row(a, place.example, place.group);
    if (!value_only && gradient.dk) {
      store_sums<kWidth>(sums, own, first, output(gradient.dk, row, a.k_ld, gradient.add_k));
    }
    if constexpr (kBoth) {
      if (gradient.dv) {
        store_sums<kWidth>(sums2, own, first, output(gradient.dv, row, a.v_ld, gradient.add_v));
      }
    } else if (value_only && gradient.dv) {
      store_sums<kWidth>(sums, own, first, output(gradient.dv, row, a.v_ld, gradient.add_v));
    }
  }
}

template <class T, int kWidth, Wanted kWanted>
cudaError_t launch(const Attention& a, const Backward& b, bool pieces, cudaStream_t stream) {
  constexpr bool kQuery = kWanted == Wanted::kQuery;
  const uint32_t rows = kQuery ? a.queries : a.keys;
  const uint32_t groups = !kQuery && a.shared_kv ? 1 : a.groups;
  const uint64_t blocks = uint64_t{a.examples} * groups * a.heads * ((rows + kRows - 1) / kRows) *
                          (kWanted == Wanted::kKeyOrValue ? 2 : 1);
  if (blocks == 0) return cudaSuccess;
  const size_t shared = Shape<kWidth>::kShared + (kQuery ? table_room(a, b) : 0);
  return start(backward_kernel<T, kWidth, kWanted>,
               {static_cast<unsigned>(blocks), kThreads, stream, shared}, a, b, pieces);
}

}  // namespace

template <class T>
cudaError_t attention_matrix_gradient(const Attention& a, const Backward& b, cudaStream_t stream) {
  const AttentionGradient& g = b.gradient;
  const uint64_t out_ld = uint64_t{a.heads} * a.width;
  const bool pieces = in_pieces(a.q, a.q_ld) && in_pieces(a.k, a.k_ld) && in_pieces(a.v, a.v_ld) &&
                      in_pieces(g.dout, out_ld) && in_pieces(g.dq, 0) && in_pieces(g.dk, 0) &&
                      in_pieces(g.dv, 0) && a.width % 8 == 0;
  return with_width(a.width, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    if (g.dq || b.tables) {
      const cudaError_t e = launch<T, kWidth, Wanted::kQuery>(a, b, pieces, stream);
      if (e != cudaSuccess) return e;
    }
    if (!g.dk && !g.dv) return cudaSuccess;
    constexpr Wanted kWanted = Shape<kWidth>::kSplit ? Wanted::kKeyOrValue : Wanted::kKeyAndValue;
    return launch<T, kWidth, kWanted>(a, b, pieces, stream);
  });
}

template cudaError_t attention_matrix_gradient<__half>(const Attention&, const Backward&,
                                                       cudaStream_t);
template cudaError_t attention_matrix_gradient<__nv_bfloat16>(const Attention&, const Backward&,
                                                              cudaStream_t);

}  // namespace stockpot::cuda

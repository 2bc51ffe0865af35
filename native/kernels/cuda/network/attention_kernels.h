#pragma once
// What the kernels of attention share: where a block's rows are, and what becomes of a score.
#include "attention.h"

namespace stockpot::cuda {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr int kWarp = 32;
// What every device of sm_80 and later gives a block (CUDA C++ Programming Guide, "Technical
// Specifications per Compute Capability": sm_86, sm_89 and sm_120 have 99 KiB).
constexpr size_t kMostShared = 99 << 10;

// The forward and backward pass of each type, behind attention() and attention_gradient().
cudaError_t attention_float(const Attention&, float* out, float* log_sums, cudaStream_t);
template <class T>
cudaError_t attention_matrix(const Attention&, T* out, float* log_sums, cudaStream_t);
// delta: [examples, groups, heads, queries], Σ dout · out of each row and head. tables: partial
// sums of dtable, [attention_parts, buckets] an example and head.
struct Backward {
  AttentionGradient gradient;
  const float* delta;
  float* tables;
};
cudaError_t attention_float_gradient(const Attention&, const Backward&, cudaStream_t);
template <class T>
cudaError_t attention_matrix_gradient(const Attention&, const Backward&, cudaStream_t);

// Rows of queries that a block of the backward pass has.
constexpr int query_rows(Number n, uint32_t width) {
  return n != Number::kF32 ? 64 : width <= 128 ? 32 : 16;
}
// How many parts dtable's sum has for an example and head: one for each block, or, where a block's
// sums do not fit into shared memory, for each of its warps. That is decided by the sizes, not by
// what the device has: the order of the sum is the same on all.
constexpr int kTableWarps = 4;  // at most
constexpr uint32_t kMostBuckets = 512;
constexpr bool has_table_room(Number n, uint32_t width) {
  return n == Number::kF32 || width <= 192;
}
STOCKPOT_HD inline bool table_shared(const Attention& a) {
  return a.buckets <= kMostBuckets && has_table_room(a.number, a.width);
}
constexpr size_t table_bytes(uint32_t buckets) { return size_t{4} * kTableWarps * buckets; }
inline uint64_t attention_parts(const Attention& a) {
  const uint64_t rows = query_rows(a.number, a.width);
  return a.groups * ((a.queries + rows - 1) / rows) * (table_shared(a) ? 1 : kTableWarps);
}

// The least of the widths that there are kernels for: columns beyond the head's are zeros.
template <class F>
cudaError_t with_width(uint32_t width, const F& f) {
  if (width <= 32) return f(std::integral_constant<int, 32>{});
  if (width <= 64) return f(std::integral_constant<int, 64>{});
  if (width <= 80) return f(std::integral_constant<int, 80>{});
  if (width <= 96) return f(std::integral_constant<int, 96>{});
  if (width <= 112) return f(std::integral_constant<int, 112>{});
  if (width <= 128) return f(std::integral_constant<int, 128>{});
  if (width <= 192) return f(std::integral_constant<int, 192>{});
  return f(std::integral_constant<int, 256>{});
}

// What a block has: a tile of rows of one example, group and head.
struct Place {
  uint32_t example, group, head;
  uint32_t first;  // row of the group
};

// Blocks of one example and head follow each other, so that they find what they share in the cache.
__device__ inline Place place_of(const Attention& a, uint32_t block, uint32_t groups, uint32_t rows,
                                 uint32_t tile) {
  const uint32_t tiles = (rows + tile - 1) / tile;
  Place p;
  p.first = block % tiles * tile;
  block /= tiles;
  p.head = block % a.heads;
  block /= a.heads;
  p.group = block % groups;
  p.example = block / groups;
  return p;
}

__device__ inline uint64_t query_row(const Attention& a, uint32_t example, uint32_t group) {
  return (uint64_t{example} * a.groups + group) * a.queries;
}
__device__ inline uint64_t key_row(const Attention& a, uint32_t example, uint32_t group) {
  return (a.shared_kv ? uint64_t{example} : uint64_t{example} * a.groups + group) * a.keys;
}
// Of log_sums and delta.
__device__ inline uint64_t sum_row(const Attention& a, uint32_t example, uint32_t group,
                                   uint32_t head) {
  return ((uint64_t{example} * a.groups + group) * a.heads + head) * a.queries;
}

template <class T>
__device__ inline const T* element(const void* base, uint64_t row, uint64_t ld, uint64_t column) {
  return static_cast<const T*>(base) + row * ld + column;
}

// What is added to the products of one example's and head's queries and keys.
struct Scores {
  const int32_t* mask;
  const int32_t* bucket;
  const float* table;
  uint32_t heads, queries, keys;
  bool causal;
  float scale;
  bool plain;  // nothing but the scale, which is positive: it may be applied later

  __device__ Scores(const Attention& a, uint32_t example, uint32_t head)
      : mask(a.mask ? a.mask + (a.mask_shared ? 0 : uint64_t{example} * a.keys) : nullptr),
        bucket(a.bucket),
        table(a.table ? a.table + head : nullptr),
        heads(a.heads),
        queries(a.queries),
        keys(a.keys),
        causal(a.causal),
        scale(a.scale),
        plain(!a.mask && !a.table && !a.causal && a.scale > 0) {}

  // Of query i and key j, whose product is s; -infinity where hidden or beyond the last.
  __device__ float operator()(float s, uint32_t i, uint32_t j) const {
    if (i >= queries || j >= keys || (causal && j > i) || (mask && mask[j] == 0)) return -INFINITY;
    s = __fmul_rn(s, scale);
    if (table) s = __fadd_rn(s, table[uint64_t(bucket[uint64_t{i} * keys + j]) * heads]);
    return s;
  }
};

// The sum and the largest over the 2^kSteps lanes around one.
template <int kSteps>
__device__ inline float lanes_max(float v) {
  for (int by = 1; by < 1 << kSteps; by *= 2) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, by));
  return v;
}
template <int kSteps>
__device__ inline float lanes_sum(float v) {
  for (int by = 1; by < 1 << kSteps; by *= 2) v = __fadd_rn(v, __shfl_xor_sync(0xFFFFFFFFu, v, by));
  return v;
}

}  // namespace stockpot::cuda

#pragma once
// softmax(scale · q·kᵀ + bias + masks)·v for each example, group and head, forward and backward,
// tile by tile: no matrix of queries by keys is stored (Dao et al. 2022, "FlashAttention",
// algorithm 1; Dao 2023, "FlashAttention-2"). Head widths go up to 256, beyond which
// cudaErrorInvalidValue is returned; rows that begin at multiples of 16 bytes (widths of multiples
// of 8) are read and written 16 bytes at a time, others element by element. float32 is computed in
// float32 throughout; bfloat16 and float16 multiply on tensor cores and sum in float32, with
// probabilities and the derivatives by scores rounded between products. A query that sees no key
// gives zeros, and no gradient.
//
// What an example gives does not depend on the others or on how many there are; nothing is summed
// by atomics.
#include "number.h"

namespace stockpot::cuda {

struct Attention {
  Number number;
  uint32_t examples, groups, heads, width;
  uint32_t queries, keys;  // of a group
  bool shared_kv;          // k and v are an example's, for all its groups
  bool causal;             // query i sees keys j <= i
  float scale;
  // The first head's first column of row 0; rows `*_ld` elements apart; head h is h · width
  // further.
  const void *q, *k, *v;
  uint64_t q_ld, k_ld, v_ld;
  const int32_t* mask = nullptr;  // [keys] an example, or of all; 0 is hidden
  bool mask_shared = false;
  const float* table = nullptr;     // [buckets, heads]: the bias of (i, j) is
  const int32_t* bucket = nullptr;  // table[bucket[i · keys + j]]
  uint32_t buckets = 0;
};

// out: [rows of q, heads · width]. log_sums: [examples, groups, heads, queries], log Σ exp of each
// query's scores (-infinity where all are hidden; out is then 0), or nullptr.
cudaError_t attention(const Attention&, void* out, float* log_sums, cudaStream_t);

struct AttentionGradient {
  const void* out;  // of the forward pass, as log_sums
  const float* log_sums;
  const void* dout;  // as out
  // As q, k, v; nullptr: not wanted. `add_*`: added to what is there.
  void *dq, *dk, *dv;
  bool add_q = false, add_k = false, add_v = false;
  float* dtable = nullptr;  // added to
  float* scratch;           // attention_scratch floats
};
// For delta (out · dout of each query and head) and partial sums of dtable; grows with examples.
uint64_t attention_scratch(const Attention&);
cudaError_t attention_gradient(const Attention&, const AttentionGradient&, cudaStream_t);

}  // namespace stockpot::cuda

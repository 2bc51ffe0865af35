#pragma once
// The gradient of attention's table: sums of dscores by bucket, in an order that follows from the
// sizes alone. Each warp has sums of its own; those of a block are added up at its end.
#include "attention_kernels.h"

namespace stockpot::cuda {

// Of a block's shared memory.
inline size_t table_shared(const Attention& a, const Backward& b) {
  if (!b.tables) return 0;
  const size_t sums = a.buckets > kMostBuckets ? 0 : a.buckets;
  return 4 * kTableWarps * (kWarp + sums);
}

class TableSums {
 public:
  // `tables`: of all blocks, nullptr: nothing is added; `room`: table_shared bytes; `part`: of the
  // block among those of its example and head. All threads of the block call this, and finish.
  __device__ TableSums(const Attention& a, float* tables, const Place& place, uint32_t part,
                       uint32_t parts, void* room)
      : buckets_(a.buckets), wide_(a.buckets > kMostBuckets), there_(tables != nullptr) {
    if (!there_) return;
    const uint32_t warp = threadIdx.x / kWarp;
    lanes_ = static_cast<float*>(room) + warp * kWarp;
    shared_ = static_cast<float*>(room) + kTableWarps * kWarp;
    const uint64_t row = (uint64_t{place.example} * a.heads + place.head) * parts + part;
    result_ = tables + row * (wide_ ? kTableWarps : 1) * buckets_;
    sums_ = (wide_ ? result_ : shared_) + uint64_t{warp} * buckets_;
    for (uint32_t i = threadIdx.x % kWarp; i < buckets_; i += kWarp) sums_[i] = 0.0f;
    __syncwarp();
  }

  __device__ explicit operator bool() const { return there_; }

  // Adds each lane's value to its bucket (negative: none), lanes in order. All lanes call it.
  __device__ void add(int32_t bucket, float value) {
    const uint32_t lane = threadIdx.x % kWarp;
    lanes_[lane] = value;
    const unsigned same = __match_any_sync(0xFFFFFFFFu, bucket);
    __syncwarp();
    if (bucket >= 0 && (same & ((1u << lane) - 1)) == 0) {
      float sum = sums_[bucket];
      for (uint32_t l = lane; l < kWarp; ++l) {
        if (same >> l & 1) sum = __fadd_rn(sum, lanes_[l]);
      }
      sums_[bucket] = sum;
    }
    __syncwarp();
  }

  // kWarps: of the block.
  template <int kWarps>
  __device__ void finish() {
    static_assert(kWarps == kTableWarps);
    if (!there_ || wide_) return;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < buckets_; i += kWarps * kWarp) {
      float sum = 0.0f;
      for (uint32_t w = 0; w < kWarps; ++w) sum = __fadd_rn(sum, shared_[w * buckets_ + i]);
      result_[i] = sum;
    }
  }

 private:
  uint32_t buckets_;
  bool wide_, there_;
  float *lanes_ = nullptr, *shared_ = nullptr, *result_ = nullptr, *sums_ = nullptr;
};

}  // namespace stockpot::cuda

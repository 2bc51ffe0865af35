#pragma once
// The gradient of attention's table: sums of dscores by bucket, in an order that follows from the
// sizes alone. Each warp has sums of its own; those of a block are added up at its end.
#include "attention_kernels.h"

namespace stockpot::cuda {

// Of a block's shared memory.
inline size_t table_room(const Attention& a, const Backward& b) {
  return b.tables && table_shared(a) ? table_bytes(a.buckets) : 0;
}

class TableSums {
 public:
  // `tables`: of all blocks, nullptr: nothing is added; `room`: table_room bytes; `part`: of the
  // block among those of its example and head. All threads of the block call this, and finish.
  __device__ TableSums(const Attention& a, float* tables, const Place& place, uint32_t part,
                       uint32_t parts, void* room)
      : buckets_(a.buckets), wide_(!table_shared(a)), there_(tables != nullptr) {
    if (!there_) return;
    const uint32_t warp = threadIdx.x / kWarp;
    shared_ = static_cast<float*>(room);
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
    const unsigned same = __match_any_sync(0xFFFFFFFFu, bucket);
    const bool first = bucket >= 0 && (same & ((1u << lane) - 1)) == 0;
    float sum = first ? sums_[bucket] : 0.0f;
    for (uint32_t l = 0; l < kWarp; ++l) {
      const float other = __shfl_sync(0xFFFFFFFFu, value, l);
      if (same >> l & 1) sum = __fadd_rn(sum, other);
    }
    if (first) sums_[bucket] = sum;
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
  float *shared_ = nullptr, *result_ = nullptr, *sums_ = nullptr;
};

}  // namespace stockpot::cuda

#pragma once
// Which row an operation takes.
#include "reduce.h"
#include "rows.h"

namespace stockpot::cuda {

__device__ inline uint64_t id_of_row(const Ids& ids, uint64_t row, uint64_t each,
                                     uint64_t table_rows) {
  const auto id = static_cast<uint32_t>(ids.data[ids.shared ? row % each : row]);
  return id < table_rows ? id : table_rows - 1;
}

// By all lanes of a warp: the first place where ids are the largest (equal < 0) or `equal`; 0 where
// none is.
__device__ inline uint64_t find_row(const int32_t* ids, int64_t equal, uint64_t each) {
  constexpr uint64_t kNone = ~uint64_t{0};
  uint64_t best = kNone;
  int64_t value = INT64_MIN;
  for (uint64_t i = threadIdx.x % 32; i < each; i += 32) {
    const int64_t id = ids[i];
    if (equal < 0 ? id > value : best == kNone && id == equal) {
      best = i;
      value = id;
    }
  }
#pragma unroll
  for (int by = 16; by > 0; by /= 2) {
    const uint64_t other = __shfl_xor_sync(kAllLanes, best, by);
    const int64_t its = __shfl_xor_sync(kAllLanes, value, by);
    if (its > value || (its == value && other < best)) {
      best = other;
      value = its;
    }
  }
  return best == kNone ? 0 : best;
}

}  // namespace stockpot::cuda

#pragma once
// Runs a plan of means on the host, tile by tile and thread by thread, with the functions that the
// kernel is made of. Addresses are those of host memory.
#include "../../../native/kernels/cuda/mean_thread.h"
#include "../../../native/kernels/cuda/plan.h"

namespace stockpot::cuda {

inline void run_on_host(const HostPlan& plan) {
  Tables t{};
  t.tensors = plan.tensors.data();
  t.inputs = plan.inputs.data();
  t.weights = plan.weights.data();
  t.facts = plan.facts.data();
  t.fact_count = static_cast<uint32_t>(plan.facts.size());
  t.tiles = plan.tiles;
  t.result = plan.result;
  for (uint64_t tile = 0; tile < t.tiles; ++tile) {
    for (uint32_t thread = 0; thread < kThreads; ++thread) mean_thread(t, tile, thread);
  }
}

}  // namespace stockpot::cuda

#pragma once
// Runs a GPU plan on the host, block by block and thread by thread, with the functions that the
// kernels are made of. Addresses are those of host memory.
#include <vector>

#include "../../../native/kernels/cuda/dots_thread.h"
#include "../../../native/kernels/cuda/gram_thread.h"
#include "../../../native/kernels/cuda/mean_thread.h"
#include "../../../native/kernels/cuda/plan.h"
#include "../../../native/kernels/cuda/sums.h"

namespace stockpot::cuda {

template <Types kTypes>
void run_tile(const Tables& t, const Launch& launch, uint32_t operation, uint64_t tile) {
  const Facts& facts = find_tensor(t.facts, t.fact_count, tile);
  const uint64_t global = facts.first_tile + tile - facts.launch_tile;
  if (operation == STOCKPOT_MEAN) {
    for (uint32_t thread = 0; thread < kThreads; ++thread) {
      if (launch.equal) {
        mean_thread<kTypes, true>(t, tile, thread);
      } else {
        mean_thread<kTypes, false>(t, tile, thread);
      }
    }
  } else if constexpr (kTypes != Types::kMixed) {
    const bool dots = operation == STOCKPOT_DOTS;
    const uint32_t pairs = gram_pairs(t.k);
    const uint32_t steps = dots ? (t.k + kDotsBatch - 1) / kDotsBatch : pairs;
    const int count = dots ? kDotsBatch : kGramSums;
    std::vector<double> sums(kGramSums * kThreads);
    for (uint32_t step = 0; step < steps; ++step) {
      for (uint32_t thread = 0; thread < kThreads; ++thread) {
        double sum[kGramSums] = {};
        if (dots) {
          dots_thread<kTypes>(t, facts, tile, step * kDotsBatch, thread, sum);
        } else {
          const GramPosition p = gram_position(step, gram_blocks(t.k));
          if (p.row == p.column) {
            gram_thread<kTypes, true>(t, facts, tile, p, thread, sum);
          } else {
            gram_thread<kTypes, false>(t, facts, tile, p, thread, sum);
          }
        }
        for (int i = 0; i < count; ++i) sums[i * kThreads + thread] = sum[i];
      }
      for (int i = 0; i < count; ++i) {
        const double total = sum_of_block(&sums[i * kThreads]);
        if (!dots) {
          t.partial[(global * pairs + step) * kGramSums + i] = total;
        } else if (step * kDotsBatch + i < t.k) {
          t.partial[global * t.k + step * kDotsBatch + i] = total;
        }
      }
    }
  }
}

inline double sum_of_group(const HostPlan& plan, const double* partial, uint64_t stride,
                           uint32_t group) {
  double sums[kThreads];
  for (uint32_t thread = 0; thread < kThreads; ++thread) {
    sums[thread] = sum_of_thread(partial, stride, plan.group_tiles[group],
                                 plan.group_tiles[group + 1], thread);
  }
  return sum_of_block(sums);
}

inline void run_on_host(const HostPlan& plan) {
  std::vector<double> partial(plan.tiles * plan.row + 1);
  for (const Launch& launch : plan.launches) {
    const Tables t{plan.tensors.data(),
                   plan.inputs.data(),
                   plan.weights.data(),
                   plan.facts.data() + launch.first_fact,
                   launch.tiles,
                   plan.result,
                   partial.data(),
                   launch.fact_count,
                   plan.k};
    for (uint64_t tile = 0; tile < launch.tiles; ++tile) {
      switch (launch.types) {
        case Types::kF32:
          run_tile<Types::kF32>(t, launch, plan.operation, tile);
          break;
        case Types::kF16:
          run_tile<Types::kF16>(t, launch, plan.operation, tile);
          break;
        case Types::kBF16:
          run_tile<Types::kBF16>(t, launch, plan.operation, tile);
          break;
        case Types::kMixed:
          run_tile<Types::kMixed>(t, launch, plan.operation, tile);
          break;
        default:
          run_tile<Types::kOther>(t, launch, plan.operation, tile);
      }
    }
  }
  if (plan.operation == STOCKPOT_MEAN) return;
  auto* result = reinterpret_cast<double*>(plan.result);
  const uint32_t groups = static_cast<uint32_t>(plan.group_tiles.size() - 1), k = plan.k;
  for (uint32_t g = 0; g < groups; ++g) {
    if (plan.operation == STOCKPOT_DOTS) {
      for (uint32_t i = 0; i < k; ++i) {
        result[g * k + i] = sum_of_group(plan, partial.data() + i, k, g);
      }
      continue;
    }
    for (uint32_t pair = 0; pair < gram_pairs(k); ++pair) {
      const GramPosition p = gram_position(pair, gram_blocks(k));
      for (int at = 0; at < kGramSums; ++at) {
        const uint32_t row = p.row * kGramBlock + at / kGramBlock;
        const uint32_t column = p.column * kGramBlock + at % kGramBlock;
        if (row > column || column >= k) continue;
        const double total =
            sum_of_group(plan, partial.data() + pair * kGramSums + at, plan.row, g);
        result[(g * k + row) * k + column] = result[(g * k + column) * k + row] = total;
      }
    }
  }
}

}  // namespace stockpot::cuda

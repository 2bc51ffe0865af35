#include "memory_plan.h"

#include <algorithm>

namespace stockpot {

MemoryPlan plan_memory(const Graph& graph) {
  const size_t n = graph.values.size();
  std::vector<size_t> born(n, 0), last(n, 0);
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const GraphOp& op = graph.ops[i];
    born[op.out] = last[op.out] = i;
    for (int32_t v : {op.x, op.y, op.z}) {
      if (v >= 0) last[v] = i;
    }
  }
  last[graph.output] = graph.ops.size();
  // The largest first, each at the lowest place where nothing that lives at the same time is (as
  // TFLite's greedy by size).
  std::vector<size_t> order(n);
  for (size_t v = 0; v < n; ++v) order[v] = v;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return graph.values[a].size() > graph.values[b].size();
  });
  MemoryPlan plan;
  plan.offset.assign(n, 0);
  std::vector<size_t> placed;
  for (size_t v : order) {
    std::vector<std::pair<uint64_t, uint64_t>> taken;
    for (size_t w : placed) {
      if (born[v] <= last[w] && born[w] <= last[v]) {
        taken.emplace_back(plan.offset[w], plan.offset[w] + graph.values[w].size());
      }
    }
    std::sort(taken.begin(), taken.end());
    uint64_t at = 0;
    for (const auto& t : taken) {
      if (at + graph.values[v].size() <= t.first) break;
      at = std::max(at, t.second);
    }
    plan.offset[v] = at;
    plan.size = std::max(plan.size, at + graph.values[v].size());
    placed.push_back(v);
  }
  return plan;
}

}  // namespace stockpot

#include "memory_plan.h"

#include <algorithm>

namespace stockpot {
namespace {

// A piece of memory that is needed at the steps [from, to].
struct Item {
  uint64_t size;
  size_t from, to;
};

// The largest first, each at the lowest place where nothing that lives at the same time is (as
// TFLite's greedy by size). Returns the size of all.
uint64_t place(const std::vector<Item>& items, std::vector<uint64_t>* offsets) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return items[a].size > items[b].size; });
  offsets->assign(items.size(), 0);
  uint64_t size = 0;
  std::vector<size_t> placed;
  std::vector<std::pair<uint64_t, uint64_t>> taken;
  for (size_t i : order) {
    taken.clear();
    for (size_t j : placed) {
      if (items[i].from <= items[j].to && items[j].from <= items[i].to)
        taken.emplace_back((*offsets)[j], (*offsets)[j] + items[j].size);
    }
    std::sort(taken.begin(), taken.end());
    uint64_t at = 0;
    for (const auto& t : taken) {
      if (at + items[i].size <= t.first) break;
      at = std::max(at, t.second);
    }
    (*offsets)[i] = at;
    size = std::max(size, at + items[i].size);
    placed.push_back(i);
  }
  return size;
}

// The first and the last operation that needs each value in the forward pass.
struct Lives {
  std::vector<size_t> born, last;
};

Lives lives_of(const Graph& graph) {
  const size_t n = graph.values.size();
  Lives l{std::vector<size_t>(n, 0), std::vector<size_t>(n, 0)};
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const GraphOp& op = graph.ops[i];
    l.born[op.out] = l.last[op.out] = i;
    for (int32_t v : {op.x, op.y, op.z}) {
      if (v >= 0) l.last[v] = i;
    }
  }
  l.last[graph.output] = graph.ops.size();
  return l;
}

// Cuts the operations into about equal parts of memory, where little is alive.
std::vector<size_t> cut(const Graph& graph, const Lives& lives, size_t segments) {
  const size_t n = graph.ops.size();
  std::vector<uint64_t> alive(n + 1, 0), made(n + 1, 0);  // before operation i
  for (size_t i = 0; i < n; ++i) {
    made[i + 1] = made[i] + graph.values[graph.ops[i].out].size();
    for (size_t v = 0; v < graph.values.size(); ++v) {
      if (lives.born[v] <= i && lives.last[v] > i) alive[i + 1] += graph.values[v].size();
    }
  }
  std::vector<size_t> begins = {0};
  for (size_t s = 1; s < segments; ++s) {
    const double target = static_cast<double>(made[n]) * static_cast<double>(s) /
                          static_cast<double>(segments),
                 reach = static_cast<double>(made[n]) / static_cast<double>(2 * segments);
    size_t best = 0;
    for (size_t i = begins.back() + 1; i < n; ++i) {
      const double off = static_cast<double>(made[i]) - target;
      if (off < -reach || off >= reach) continue;
      if (best == 0 || alive[i] < alive[best]) best = i;
    }
    if (best) begins.push_back(best);
  }
  begins.push_back(n);
  return begins;
}

uint64_t rounded(uint64_t size, const PlanUnits& units) {
  return (size + units.multiple - 1) / units.multiple * units.multiple;
}

uint64_t size_of(const Graph& graph, int32_t value, const PlanUnits& units) {
  return rounded(graph.values[value].size() * units.element, units);
}

// What the backward pass needs of an operation besides values: x·W + b of a linear with more to
// follow, the probabilities of an attention or what they are computed from again.
uint64_t kept_size(const Graph& graph, const GraphOp& op, const PlanUnits& units) {
  if (op.kind == OpKind::kAttention) {
    const uint64_t heads = op.numbers[3], groups = op.numbers[5];
    const uint64_t keys = graph.values[op.y].rows / (op.numbers[6] ? 1 : groups);
    const uint64_t queries = heads * graph.values[op.x].rows;
    return rounded(units.log_sum ? queries * units.log_sum : queries * keys * units.element, units);
  }
  const bool more = op.activation != Activation::kNone || op.scale_weight >= 0 || op.y >= 0;
  return op.kind == OpKind::kLinear && more ? size_of(graph, op.out, units) : 0;
}

// Which operands' values the backward pass reads: bits x 1, y 2, z 4.
uint8_t reads_values(const GraphOp& op) {
  switch (op.kind) {
    case OpKind::kLinear:
      return op.y >= 0 ? 3 : 1;
    case OpKind::kAttention:
      return 7;
    case OpKind::kScale:
      return op.scale_weight >= 0 ? 1 : 0;
    case OpKind::kLayerNorm:
    case OpKind::kRmsNorm:
    case OpKind::kL2Normalize:
    case OpKind::kSimilarity:
    case OpKind::kLogLikelihood:
      return 1;
    default:
      return 0;
  }
}

// A value has a gradient where a weight had a part in it.
std::vector<bool> depends_on_weights(const Graph& graph) {
  std::vector<bool> depends(graph.values.size(), false);
  for (const GraphOp& op : graph.ops) {
    bool d = op.weight >= 0 || op.bias >= 0 || op.scale_weight >= 0;
    for (int32_t v : {op.x, op.y, op.z}) d = d || (v >= 0 && depends[v]);
    // Class features are another network's output, whose gradient is asked for.
    depends[op.out] = d || op.kind == OpKind::kSimilarity;
  }
  return depends;
}

// The operand whose gradient the output's may become without a copy, or -1.
int32_t moved_operand(const GraphOp& op) {
  switch (op.kind) {
    case OpKind::kLinear:
      return op.z != op.x && op.z != op.y ? op.z : -1;
    case OpKind::kAdd:
      return op.x != op.y ? op.x : -1;
    case OpKind::kAddRows:
    case OpKind::kAddRow:
      return op.x;
    default:
      return -1;
  }
}

}  // namespace

MemoryPlan plan_memory(const Graph& graph, const PlanUnits& units) {
  const Lives lives = lives_of(graph);
  std::vector<Item> items;
  for (size_t v = 0; v < graph.values.size(); ++v)
    items.push_back({size_of(graph, static_cast<int32_t>(v), units), lives.born[v], lives.last[v]});
  MemoryPlan plan;
  plan.size = place(items, &plan.offset);
  return plan;
}

TrainingPlan plan_training(const Graph& graph, size_t segments, const PlanUnits& units) {
  const size_t n = graph.ops.size(), values = graph.values.size();
  const auto size = [&](size_t v) { return size_of(graph, static_cast<int32_t>(v), units); };
  TrainingPlan plan;
  plan.begins = cut(graph, lives_of(graph), segments);
  segments = plan.segments();
  std::vector<size_t> segment(n), again(n), back(n);  // steps of the second and third visit
  for (size_t s = 0; s < segments; ++s) {
    for (size_t i = plan.begins[s]; i < plan.begins[s + 1]; ++i) segment[i] = s;
  }
  size_t step = n + 1;  // the output's gradient is there at step n
  for (size_t s = segments; s-- > 0;) {
    for (size_t i = plan.begins[s]; i < plan.begins[s + 1]; ++i)
      again[i] = s + 1 == segments ? i : step++;
    for (size_t i = plan.begins[s + 1]; i-- > plan.begins[s];) back[i] = step++;
  }

  // Values: once where they are kept, else once in each pass.
  std::vector<size_t> maker(values, 0);
  for (size_t i = 0; i < n; ++i) maker[graph.ops[i].out] = i;
  plan.crosses.assign(values, false);
  plan.crosses[graph.output] = true;
  for (size_t i = 0; i < n; ++i) {
    const GraphOp& op = graph.ops[i];
    for (int32_t v : {op.x, op.y, op.z}) {
      if (v >= 0 && segment[maker[v]] != segment[i]) plan.crosses[v] = true;
    }
  }
  std::vector<Item> items;
  std::vector<size_t> first(values), second(values);
  for (size_t v = 0; v < values; ++v) {
    const size_t at = maker[v];
    first[v] = second[v] = items.size();
    items.push_back({size(v), at, at});
    if (!plan.crosses[v] && !plan.last_segment(at)) {
      second[v] = items.size();
      items.push_back({size(v), again[at], again[at]});
    }
  }
  const auto until = [&items](size_t item, size_t to) {
    items[item].to = std::max(items[item].to, to);
  };
  until(first[graph.output], n);
  std::vector<size_t> before(n, SIZE_MAX), temporary(n, SIZE_MAX);
  for (size_t i = 0; i < n; ++i) {
    const GraphOp& op = graph.ops[i];
    const int32_t operands[] = {op.x, op.y, op.z};
    const uint8_t reads = reads_values(op);
    for (int o = 0; o < 3; ++o) {
      const int32_t v = operands[o];
      if (v < 0) continue;
      until(first[v], i);
      until(second[v], again[i]);
      if (reads >> o & 1) until(second[v], back[i]);
    }
    if (const uint64_t kept = kept_size(graph, op, units)) {
      before[i] = items.size();
      items.push_back({kept, again[i], back[i]});
      // The operation is run again for it, and writes its output too, which may have been kept.
      until(second[op.out], again[i]);
    }
    // To compute the probabilities again.
    if (op.kind == OpKind::kAttention && units.log_sum) until(second[op.out], back[i]);
  }

  // Gradients, in the order of the backward pass.
  const std::vector<bool> depends = depends_on_weights(graph);
  std::vector<size_t> gradient(values, SIZE_MAX);
  plan.adds.assign(n, 0);
  plan.moves.assign(n, false);
  gradient[graph.output] = items.size();
  items.push_back({size(graph.output), n, n});
  for (size_t i = n; i-- > 0;) {
    const GraphOp& op = graph.ops[i];
    if (gradient[op.out] == SIZE_MAX) continue;
    const int32_t operands[] = {op.x, op.y, op.z};
    for (int o = 2; o >= 0; --o) {
      const int32_t v = operands[o];
      if (v < 0 || !depends[v]) continue;
      if (gradient[v] != SIZE_MAX) {
        plan.adds[i] |= static_cast<uint8_t>(1 << o);
      } else if (v == moved_operand(op)) {
        gradient[v] = gradient[op.out];
        plan.moves[i] = true;
      } else {
        gradient[v] = items.size();
        items.push_back({size(v), back[i], back[i]});
      }
      until(gradient[v], back[i]);
    }
    until(gradient[op.out], back[i]);
    if (plan.moves[i] && before[i] != SIZE_MAX) {
      temporary[i] = items.size();
      items.push_back({size(op.out), back[i], back[i]});
    }
  }

  std::vector<uint64_t> offsets;
  plan.size = place(items, &offsets);
  const auto found = [&offsets](const std::vector<size_t>& items_of) {
    std::vector<uint64_t> at;
    for (size_t item : items_of) at.push_back(item == SIZE_MAX ? kNowhere : offsets[item]);
    return at;
  };
  plan.forward = found(first);
  plan.backward = found(second);
  plan.gradient = found(gradient);
  plan.before = found(before);
  plan.temporary = found(temporary);
  return plan;
}

TrainingPlan plan_training_within(const Graph& graph, uint64_t size, const PlanUnits& units) {
  TrainingPlan best = plan_training(graph, 1, units);
  // More segments than that hold too few operations to save anything.
  for (size_t segments = 2; best.size > size && segments <= graph.ops.size() / 2; ++segments) {
    TrainingPlan plan = plan_training(graph, segments, units);
    if (plan.size < best.size) best = std::move(plan);
  }
  return best;
}

}  // namespace stockpot

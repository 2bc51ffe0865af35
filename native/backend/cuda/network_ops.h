#pragma once
#include "../../executor/graph.h"
#include "../../kernels/cuda/network/attention.h"

namespace stockpot::cuda {

// What the kernels need to know of an attention; where its operands lie is left open.
inline Attention attention_of(const Graph& graph, const GraphOp& op, Number number,
                              uint32_t examples) {
  Attention a{};
  const auto number_of = [&op](size_t i) { return static_cast<uint32_t>(op.numbers[i]); };
  a.number = number;
  a.examples = examples;
  a.heads = number_of(3);
  a.width = number_of(4);
  a.groups = number_of(5);
  a.shared_kv = op.numbers[6] != 0;
  a.causal = op.numbers[7] != 0;
  a.queries = static_cast<uint32_t>(graph.values[op.x].rows / a.groups);
  a.keys = static_cast<uint32_t>(graph.values[op.y].rows / (a.shared_kv ? 1 : a.groups));
  a.scale = op.number;
  a.q_ld = graph.values[op.x].columns;
  a.k_ld = graph.values[op.y].columns;
  a.v_ld = graph.values[op.z].columns;
  if (op.input >= 0) a.mask_shared = graph.inputs[op.input].shared;
  if (op.weight >= 0) a.buckets = static_cast<uint32_t>(graph.weights[op.weight].shape[0]);
  return a;
}

}  // namespace stockpot::cuda

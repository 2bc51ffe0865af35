#include "sizes.h"

#include <algorithm>

#include "executor.h"

namespace stockpot {
namespace {

void add_attention(const Graph& graph, const GraphOp& op, const NetworkOps& ops, bool training,
                   ExecutorSizes* sizes) {
  const size_t width = op.numbers[4], groups = op.numbers[5], panel = ops.panel;
  const size_t lq = graph.values[op.x].rows / groups;
  const size_t lk = graph.values[op.y].rows / (op.numbers[6] ? 1 : groups);
  const size_t block = std::min(up(lq, ops.row_tile), ops.row_tile * kRowTiles);
  const size_t keys = packed_size(lk, width, panel), across = packed_size(width, lk, panel);
  // Forward: K and V packed, scores. Backward: V and K packed, a block of Q and of the output's
  // gradient; the gradient of the scores.
  const size_t blocks = training ? 2 * packed_size(width, block, panel) : 0;
  sizes->scratch = std::max<uint64_t>(sizes->scratch, keys + across + blocks + block * lk);
}

void add_training(const Graph& graph, const GraphOp& op, uint64_t batch, const NetworkOps& ops,
                  ExecutorSizes* sizes) {
  const GraphValue& out = graph.values[op.out];
  const uint64_t rows = out.rows * batch;
  const auto product = [&](size_t m, size_t n) {
    const size_t depth = depth_at_once(m, n, rows);
    sizes->packed_a = std::max<uint64_t>(sizes->packed_a, up(m, ops.row_tile) * depth);
    sizes->packed_b = std::max<uint64_t>(sizes->packed_b, packed_size(n, depth, ops.panel));
  };
  const auto sums = [&](uint64_t floats) { sizes->partial = std::max(sizes->partial, floats); };
  switch (op.kind) {
    case OpKind::kLinear: {
      const size_t depth = graph.values[op.x].columns;
      op.transposed ? product(depth, out.columns) : product(out.columns, depth);
      // The weight, packed for the product with the output's gradient.
      sizes->packed_b =
          std::max<uint64_t>(sizes->packed_b, packed_size(depth, out.columns, ops.panel));
      sums(batch * out.columns);
      break;
    }
    case OpKind::kLayerNorm:
    case OpKind::kRmsNorm:
      sums(batch * 2 * out.columns);
      break;
    case OpKind::kAddRow:
      sums(batch * out.columns);
      break;
    case OpKind::kScale:
      sums(batch);
      break;
    case OpKind::kAttention:
      if (op.weight >= 0) sums(batch * op.numbers[3] * graph.weights[op.weight].shape[0]);
      break;
    case OpKind::kSimilarity:
      product(out.columns, graph.values[op.x].columns);
      sizes->input_gradients[op.input] = graph.inputs[op.input].elements;
      break;
    default:
      break;
  }
}

}  // namespace

size_t depth_at_once(size_t m, size_t n, uint64_t rows) {
  return std::min<uint64_t>(rows, std::max<size_t>(1024, kPackedFloats / (m + n)));
}

std::vector<uint8_t> how_packed(const Graph& graph) {
  std::vector<uint8_t> packed(graph.weights.size(), 0);
  for (const GraphOp& op : graph.ops) {
    if (op.kind == OpKind::kLinear) packed[op.weight] = op.transposed ? 2 : 1;
  }
  // A weight that is a table as well as a layer's matrix (tied embeddings) is kept as stored, and
  // packed beside.
  for (const GraphOp& op : graph.ops) {
    if (op.kind == OpKind::kEmbedding && packed[op.weight]) packed[op.weight] |= 4;
  }
  return packed;
}

ExecutorSizes executor_sizes(const Graph& graph, const TrainingPlan* plan, uint32_t largest_batch,
                             const NetworkOps& ops) {
  ExecutorSizes sizes;
  sizes.arena = (plan ? plan->size : plan_memory(graph).size) * largest_batch;
  const std::vector<uint8_t> packed = how_packed(graph);
  for (size_t w = 0; w < graph.weights.size(); ++w) {
    const uint64_t n = graph.weights[w].elements();
    const size_t rows = graph.weights[w].shape.empty() ? 1 : graph.weights[w].shape[0];
    const size_t columns = rows ? n / rows : 0;
    const uint8_t how = packed[w] & 3;
    const size_t matrix = how == 0   ? 0
                          : how == 1 ? packed_size(rows, columns, ops.panel)
                                     : packed_size(columns, rows, ops.panel);
    sizes.weights.push_back(how == 0 ? n : matrix + (packed[w] & 4 ? n : 0));
    if (plan) sizes.gradients.push_back(n);
  }
  if (plan) sizes.input_gradients.assign(graph.inputs.size(), 0);
  for (const GraphOp& op : graph.ops) {
    if (op.kind == OpKind::kSimilarity) {
      const size_t n = graph.values[op.out].columns, depth = graph.values[op.x].columns;
      sizes.similarity = std::max<uint64_t>(
          {sizes.similarity, packed_size(n, depth, ops.panel), packed_size(depth, n, ops.panel)});
    }
    if (op.kind == OpKind::kAttention) add_attention(graph, op, ops, plan != nullptr, &sizes);
    if (plan) add_training(graph, op, largest_batch, ops, &sizes);
  }
  return sizes;
}

uint64_t ExecutorSizes::bytes(uint32_t threads) const {
  uint64_t floats = arena + scratch * threads + similarity + partial + packed_a + packed_b;
  for (const auto* all : {&weights, &gradients, &input_gradients}) {
    for (uint64_t n : *all) floats += n;
  }
  return floats * sizeof(float);
}

}  // namespace stockpot

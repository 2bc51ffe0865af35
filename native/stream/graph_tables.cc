#include "graph_tables.h"

#include <algorithm>

namespace stockpot {

GraphTables::GraphTables(const Graph& graph) : output(graph.output) {
  for (const GraphInput& i : graph.inputs) inputs.push_back({i.elements, i.integers, i.shared});
  for (const GraphWeight& w : graph.weights) {
    stockpot_graph_weight weight{};
    weight.dimensions = static_cast<uint32_t>(std::min<size_t>(w.shape.size(), 8));
    std::copy_n(w.shape.begin(), weight.dimensions, weight.shape);
    weights.push_back(weight);
  }
  for (const GraphValue& v : graph.values) values.push_back({v.rows, v.columns});
  for (const GraphOp& op : graph.ops) {
    stockpot_graph_op o{};
    o.kind = static_cast<uint32_t>(op.kind);
    o.out = op.out;
    o.x = op.x;
    o.y = op.y;
    o.z = op.z;
    o.input = op.input;
    o.weight = op.weight;
    o.bias = op.bias;
    o.scale_weight = op.scale_weight;
    o.activation = static_cast<uint32_t>(op.activation);
    o.transposed = op.transposed;
    o.number = op.number;
    o.number_count = static_cast<uint32_t>(std::min<size_t>(op.numbers.size(), 8));
    std::copy_n(op.numbers.begin(), o.number_count, o.numbers);
    o.first_bucket = static_cast<uint32_t>(buckets.size());
    o.bucket_count = static_cast<uint32_t>(op.buckets.size());
    buckets.insert(buckets.end(), op.buckets.begin(), op.buckets.end());
    ops.push_back(o);
  }
}

stockpot_network_spec GraphTables::spec(uint32_t number, uint32_t largest_batch, bool training,
                                        uint64_t activation_bytes) const {
  stockpot_network_spec s{};
  s.size = sizeof(s);
  s.number = number;
  s.largest_batch = largest_batch;
  s.training = training;
  s.activation_bytes = activation_bytes;
  s.input_count = static_cast<uint32_t>(inputs.size());
  s.weight_count = static_cast<uint32_t>(weights.size());
  s.value_count = static_cast<uint32_t>(values.size());
  s.op_count = static_cast<uint32_t>(ops.size());
  s.bucket_count = static_cast<uint32_t>(buckets.size());
  s.output = output;
  s.inputs = inputs.data();
  s.weights = weights.data();
  s.values = values.data();
  s.ops = ops.data();
  s.buckets = buckets.data();
  return s;
}

}  // namespace stockpot

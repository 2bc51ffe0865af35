#include "network_layout.h"

#include <algorithm>
#include <map>

#include "../../kernels/cuda/network/gradient_range.h"
#include "../../kernels/cuda/network/rows.h"
#include "network_ops.h"
#include "products.h"

namespace stockpot::cuda {
namespace {

constexpr uint64_t kAlign = 256;
uint64_t padded(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

enum class Use : uint8_t { kNone, kMatrix, kVector };

// Vectors stay float32: they are small, and what is added to every row should not be rounded.
std::string find_types(const Graph& graph, NetworkLayout* l) {
  std::vector<Use> uses(graph.weights.size(), Use::kNone);
  int32_t both = -1;
  const auto use = [&](int32_t w, Use as) {
    if (w < 0) return;
    if (uses[w] != Use::kNone && uses[w] != as) both = w;
    uses[w] = as;
  };
  for (const GraphOp& op : graph.ops) {
    use(op.bias, Use::kVector);
    use(op.scale_weight, Use::kVector);
    const bool vector = op.kind == OpKind::kLayerNorm || op.kind == OpKind::kRmsNorm ||
                        op.kind == OpKind::kAttention;
    use(op.weight, vector ? Use::kVector : Use::kMatrix);
  }
  if (both >= 0 && l->number != Number::kF32)
    return "weight " + std::to_string(both) + " is both a matrix and a vector";
  const DType matrix = l->number == Number::kF32    ? DType::kF32
                       : l->number == Number::kBF16 ? DType::kBF16
                                                    : DType::kF16;
  for (Use u : uses) l->weight_types.push_back(u == Use::kVector ? DType::kF32 : matrix);
  return "";
}

uint64_t attention_floats(const Graph& graph, const GraphOp& op, const NetworkLayout& l) {
  Attention a = attention_of(graph, op, l.number, l.largest_batch);
  const float some = 0;
  if (op.weight >= 0) a.table = &some;  // that there is one is what counts
  return attention_scratch(a);
}

}  // namespace

std::string lay_out(const Graph& graph, const stockpot_network_spec& spec, NetworkLayout* l) {
  l->number = static_cast<Number>(spec.number);
  l->largest_batch = spec.largest_batch;
  l->training = spec.training != 0;
  const std::string wrong = find_types(graph, l);
  if (!wrong.empty()) return wrong;

  uint64_t at = 0;
  const auto take = [&at](uint64_t bytes) {
    const uint64_t place = at;
    at += padded(bytes);
    return place;
  };
  for (size_t w = 0; w < graph.weights.size(); ++w)
    l->weights.push_back(take(graph.weights[w].elements() * byte_size(l->weight_types[w])));
  l->sizes.weights = at;

  l->first_gradient = at;
  l->input_gradients.assign(graph.inputs.size(), kNowhere);
  if (l->training) {
    for (const GraphWeight& w : graph.weights)
      l->gradients.push_back(take(w.elements() * sizeof(float)));
    for (const GraphOp& op : graph.ops) {
      if (op.kind != OpKind::kSimilarity || l->input_gradients[op.input] != kNowhere) continue;
      l->input_gradients[op.input] = take(graph.inputs[op.input].elements * sizeof(float));
    }
  }
  l->gradient_bytes = l->sizes.gradients = at - l->first_gradient;

  PlanUnits units;
  units.element = uint64_t{byte_size(l->number)} * l->largest_batch;
  units.log_sum = sizeof(float) * l->largest_batch;
  units.multiple = kAlign;
  if (l->training) {
    l->plan = spec.activation_bytes ? plan_training_within(graph, spec.activation_bytes, units)
                                    : plan_training(graph, 1, units);
    l->sizes.segments = static_cast<uint32_t>(l->plan.segments());
  } else {
    MemoryPlan plan = plan_memory(graph, units);
    l->plan.forward = std::move(plan.offset);
    l->plan.before.assign(graph.ops.size(), kNowhere);
    l->plan.size = plan.size;
  }
  l->sizes.activations = l->plan.size;
  l->activations = take(l->plan.size);

  const uint64_t first_scratch = at;
  l->buckets.assign(graph.ops.size(), kNowhere);
  std::map<std::vector<int32_t>, uint64_t> tables;  // layers often share theirs
  uint64_t features = 0, partial = 0, attention = 0;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const GraphOp& op = graph.ops[i];
    if (!op.buckets.empty()) {
      const auto [table, added] = tables.try_emplace(op.buckets, 0);
      if (added) table->second = take(op.buckets.size() * sizeof(int32_t));
      l->buckets[i] = table->second;
    }
    if (op.kind == OpKind::kSimilarity && l->number != Number::kF32)
      features = std::max(features, graph.inputs[op.input].elements * byte_size(l->number));
    if (!l->training) continue;
    const GraphValue& out = graph.values[op.out];
    // Fewer rows may be cut into more parts: at most twice as many.
    partial = std::max(partial, 2 * partial_floats(out.rows * l->largest_batch, out.columns));
    if (op.kind == OpKind::kAttention)
      attention = std::max(attention, attention_floats(graph, op, *l));
  }
  l->features = take(features);
  l->partial = take(partial * sizeof(float));
  l->attention = take(attention * sizeof(float));
  l->products = take(l->number == Number::kF32 ? 0 : Products::kWorkspace);
  if (l->training && l->number == Number::kF16) l->range = take(sizeof(GradientRange));
  l->sizes.scratch = at - first_scratch;
  l->bytes = at;
  return "";
}

}  // namespace stockpot::cuda

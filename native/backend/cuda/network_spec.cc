#include "network_spec.h"

namespace stockpot::cuda {
namespace {

// Far beyond any network; with what check() allows, sums and products of sizes stay within 64 bits.
constexpr uint32_t kMostEntries = 1 << 20;
constexpr uint32_t kMostBatch = 1 << 20;
constexpr uint32_t kMostDimensions = 8, kMostNumbers = 8;
constexpr int64_t kWidestHead = 256;

std::string read_weight(const stockpot_graph_weight& from, GraphWeight* to) {
  if (from.dimensions > kMostDimensions) return "has more than 8 dimensions";
  for (uint32_t d = 0; d < from.dimensions; ++d) {
    if (from.shape[d] == 0) return "has no elements";
    to->shape.push_back(from.shape[d]);
  }
  return "";
}

std::string read_op(const stockpot_network_spec& spec, const stockpot_graph_op& from, GraphOp* to) {
  if (from.kind > static_cast<uint32_t>(OpKind::kLogLikelihood)) return "is of an unknown kind";
  if (from.activation > static_cast<uint32_t>(Activation::kSilu))
    return "has an unknown activation";
  if (from.number_count > kMostNumbers) return "has more than 8 numbers";
  if (from.first_bucket > spec.bucket_count ||
      from.bucket_count > spec.bucket_count - from.first_bucket) {
    return "has buckets beyond their table";
  }
  to->kind = static_cast<OpKind>(from.kind);
  to->out = from.out;
  to->x = from.x;
  to->y = from.y;
  to->z = from.z;
  to->input = from.input;
  to->weight = from.weight;
  to->bias = from.bias;
  to->scale_weight = from.scale_weight;
  to->activation = static_cast<Activation>(from.activation);
  to->transposed = from.transposed != 0;
  to->number = from.number;
  to->numbers.assign(from.numbers, from.numbers + from.number_count);
  if (from.bucket_count) {
    const int32_t* first = spec.buckets + from.first_bucket;
    to->buckets.assign(first, first + from.bucket_count);
  }
  return "";
}

// Whether the columns that operands of an attention take of one value overlap: their gradients
// would be written over each other.
bool overlapping(const GraphOp& op) {
  const int32_t values[] = {op.x, op.y, op.z};
  const int64_t columns = op.numbers[3] * op.numbers[4];
  for (int a = 0; a < 3; ++a) {
    for (int b = a + 1; b < 3; ++b) {
      if (values[a] == values[b] && op.numbers[a] < op.numbers[b] + columns &&
          op.numbers[b] < op.numbers[a] + columns) {
        return true;
      }
    }
  }
  return false;
}

// What the processor does and the device does not; `op` has been checked.
std::string unsuited(const Graph& graph, const GraphOp& op, bool training) {
  if (op.kind == OpKind::kAttention) {
    const int64_t width = op.numbers[4];
    if (width > kWidestHead) {
      return "has heads " + std::to_string(width) + " wide; a device takes up to " +
             std::to_string(kWidestHead);
    }
    if (training && overlapping(op)) return "has operands that share columns of one value";
  }
  if (op.kind == OpKind::kEmbedding &&
      static_cast<uint64_t>(op.numbers[0]) >= graph.weights[op.weight].shape[0]) {
    return "begins beyond its table";
  }
  return "";
}

}  // namespace

std::string read_graph(const stockpot_network_spec& spec, Graph* graph) {
  if (spec.size != sizeof(spec)) return "the network's spec is of another version";
  if (spec.number > STOCKPOT_NUMBER_F16) return "the network's number is unknown";
  if (spec.largest_batch == 0 || spec.largest_batch > kMostBatch)
    return "the largest batch must be 1 to " + std::to_string(kMostBatch);
  for (uint32_t count : {spec.input_count, spec.weight_count, spec.value_count, spec.op_count}) {
    if (count > kMostEntries) return "the network has too many parts";
  }
  if ((spec.input_count && !spec.inputs) || (spec.weight_count && !spec.weights) ||
      (spec.value_count && !spec.values) || (spec.op_count && !spec.ops) ||
      (spec.bucket_count && !spec.buckets)) {
    return "a table of the network is missing";
  }
  for (uint32_t i = 0; i < spec.input_count; ++i) {
    const stockpot_graph_input& input = spec.inputs[i];
    if (input.elements == 0) return "input " + std::to_string(i) + " has no elements";
    graph->inputs.push_back(
        {"input " + std::to_string(i), input.integers != 0, input.elements, input.shared != 0});
  }
  for (uint32_t i = 0; i < spec.weight_count; ++i) {
    graph->weights.emplace_back();
    const std::string wrong = read_weight(spec.weights[i], &graph->weights.back());
    if (!wrong.empty()) return "weight " + std::to_string(i) + " " + wrong;
  }
  for (uint32_t i = 0; i < spec.value_count; ++i)
    graph->values.push_back({spec.values[i].rows, spec.values[i].columns});
  for (uint32_t i = 0; i < spec.op_count; ++i) {
    graph->ops.emplace_back();
    const std::string wrong = read_op(spec, spec.ops[i], &graph->ops.back());
    if (!wrong.empty()) return "operation " + std::to_string(i) + " " + wrong;
  }
  graph->output = spec.output;
  std::string wrong = check(*graph);
  if (!wrong.empty()) return "the network does not fit together: " + wrong;
  for (uint32_t i = 0; i < spec.op_count; ++i) {
    wrong = unsuited(*graph, graph->ops[i], spec.training != 0);
    if (!wrong.empty()) return "operation " + std::to_string(i) + " " + wrong;
  }
  return "";
}

}  // namespace stockpot::cuda

#include "plan.h"

#include "../exact_span.h"
#include "gram_tables.h"

namespace stockpot::cuda {
namespace {

bool aligned(uint64_t address) { return address % 16 == 0; }
bool is_output(uint32_t t) { return t <= static_cast<uint32_t>(DType::kBF16); }
bool is_input(uint32_t t) { return t <= static_cast<uint32_t>(DType::kF8E5M2); }

Types types_of(const stockpot_tensor& t, const stockpot_input* inputs) {
  bool same = true;
  for (uint32_t i = 0; i < t.inputs; ++i) {
    if (!aligned(inputs[i].data) || static_cast<DType>(inputs[i].dtype) == DType::kF64)
      return Types::kOther;
    same = same && inputs[i].dtype == inputs[0].dtype;
  }
  if (!aligned(t.out) || !aligned(t.second) || !aligned(t.other)) return Types::kOther;
  if (!same) return Types::kMixed;
  switch (static_cast<DType>(inputs[0].dtype)) {
    case DType::kF32:
      return Types::kF32;
    case DType::kF16:
      return Types::kF16;
    case DType::kBF16:
      return Types::kBF16;
    default:
      return Types::kMixed;
  }
}

// Consecutive elements that a thread takes for a dot product.
uint8_t dots_count(const stockpot_tensor& t, const stockpot_input* inputs) {
  bool halves = byte_size(static_cast<DType>(inputs[0].dtype)) == 2;
  for (uint32_t i = 1; i < t.inputs; ++i) halves = halves && inputs[i].dtype == inputs[0].dtype;
  return halves ? 8 : 4;
}

uint64_t tile_of(uint32_t operation) {
  return operation == STOCKPOT_MEAN   ? kMeanTile
         : operation == STOCKPOT_DOTS ? kDotsTile
                                      : kGramTile;
}

std::string check(const stockpot_plan_spec& s) {
  if (s.size < sizeof(s)) return "the plan is of an older version";
  if (s.operation > STOCKPOT_GRAM) return "unknown operation";
  if (s.tensor_count == 0) return "there are no tensors";
  if (s.result == 0) return "there is no place for the result";
  if (s.group_count > kMostGroups) return "there are too many groups";
  const bool mean = s.operation == STOCKPOT_MEAN;
  for (uint32_t i = 0; i < s.input_count; ++i) {
    if (!is_input(s.inputs[i].dtype)) return "an input's type is not floating-point";
  }
  for (uint32_t n = 0; n < s.tensor_count; ++n) {
    const stockpot_tensor& t = s.tensors[n];
    if (t.inputs == 0 || t.inputs > s.input_count || t.first_input > s.input_count - t.inputs)
      return "a tensor's inputs are out of range";
    if (t.elements > uint64_t{1} << 48) return "a tensor is too large";
    if (!mean && t.inputs != s.tensors[0].inputs)
      return "the tensors have different numbers of inputs";
    if (!mean && (t.group >= s.group_count || (n > 0 && t.group < s.tensors[n - 1].group)))
      return "the groups are out of order";
    if (t.elements == 0) continue;
    for (uint32_t i = 0; i < t.inputs; ++i) {
      if (s.inputs[t.first_input + i].data == 0) return "an input has no address";
    }
    if (mean) {
      if (!is_output(t.out_dtype) || !is_output(t.second_dtype)) return "not an output's type";
      if (t.out == 0) return "an output has no address";
      if (t.weights < -1 ||
          (t.weights >= 0 && (t.inputs > s.weight_count ||
                              static_cast<uint32_t>(t.weights) > s.weight_count - t.inputs)))
        return "a tensor's weights are out of range";
    } else {
      if (s.operation == STOCKPOT_DOTS && t.other == 0) return "a vector has no address";
      if (t.other && !is_input(t.other_dtype)) return "a vector's type is not floating-point";
    }
  }
  return "";
}

}  // namespace

std::string make_plan(const stockpot_plan_spec& s, HostPlan* plan) {
  const std::string wrong = check(s);
  if (!wrong.empty()) return wrong;
  plan->operation = s.operation;
  plan->tensors.assign(s.tensors, s.tensors + s.tensor_count);
  plan->inputs.assign(s.inputs, s.inputs + s.input_count);
  if (s.weight_count) plan->weights.assign(s.weights, s.weights + s.weight_count);
  plan->result = s.result;
  plan->k = s.tensors[0].inputs;
  plan->row = s.operation == STOCKPOT_DOTS   ? plan->k
              : s.operation == STOCKPOT_GRAM ? uint64_t{gram_pairs(plan->k)} * kGramSums
                                             : 0;
  const uint64_t tile = tile_of(s.operation);
  for (uint32_t n = 0; n < s.tensor_count; ++n) {
    const stockpot_tensor& t = plan->tensors[n];
    if (s.operation != STOCKPOT_MEAN) {
      while (plan->group_tiles.size() <= t.group) plan->group_tiles.push_back(plan->tiles);
    }
    if (t.elements == 0) continue;
    const stockpot_input* inputs = plan->inputs.data() + t.first_input;
    Facts facts{};
    facts.tensor = n;
    facts.first_tile = plan->tiles;
    facts.types = types_of(t, inputs);
    facts.equal = s.operation == STOCKPOT_MEAN && t.weights < 0;
    facts.count = dots_count(t, inputs);
    if (s.operation == STOCKPOT_MEAN) {
      std::vector<DType> dtypes;
      for (uint32_t i = 0; i < t.inputs; ++i) dtypes.push_back(static_cast<DType>(inputs[i].dtype));
      facts.span = exact_span(dtypes.data(), t.inputs);
      facts.threshold = overflow_threshold(static_cast<DType>(t.out_dtype));
    }
    plan->facts.push_back(facts);
    plan->tiles += (t.elements + tile - 1) / tile;
  }
  while (plan->group_tiles.size() <= s.group_count) plan->group_tiles.push_back(plan->tiles);
  return "";
}

}  // namespace stockpot::cuda

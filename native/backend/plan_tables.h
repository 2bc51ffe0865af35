#pragma once
#include <vector>

#include "backend.h"

namespace stockpot {

// The tables of a plan as they grow, and the spec that points into them.
struct PlanTables {
  std::vector<stockpot_tensor> tensors;
  std::vector<stockpot_input> inputs;
  std::vector<double> weights;  // of MEAN
  uint32_t groups = 0;          // of DOTS and GRAM

  // Holds until the tables change. result: a device address, see stockpot_operation.
  stockpot_plan_spec spec(uint32_t operation, uint64_t result) const {
    stockpot_plan_spec s{};
    s.size = sizeof(s);
    s.operation = operation;
    s.tensor_count = static_cast<uint32_t>(tensors.size());
    s.input_count = static_cast<uint32_t>(inputs.size());
    s.weight_count = static_cast<uint32_t>(weights.size());
    s.group_count = groups;
    s.tensors = tensors.data();
    s.inputs = inputs.data();
    s.weights = weights.data();
    s.result = result;
    return s;
  }
};

}  // namespace stockpot

#pragma once
#include <vector>

#include "../backend/backend.h"
#include "../executor/graph.h"

namespace stockpot {

// A graph in the flat tables of the backend's interface.
struct GraphTables {
  explicit GraphTables(const Graph& graph);

  // activation_bytes: what values may take where it is for training; 0: all that they need.
  stockpot_network_spec spec(uint32_t number, uint32_t largest_batch, bool training,
                             uint64_t activation_bytes) const;

  int32_t output;
  std::vector<stockpot_graph_input> inputs;
  std::vector<stockpot_graph_weight> weights;
  std::vector<stockpot_graph_value> values;
  std::vector<stockpot_graph_op> ops;
  std::vector<int32_t> buckets;
};

}  // namespace stockpot

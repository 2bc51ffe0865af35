#pragma once
#include "graph.h"

namespace stockpot {

// Where each value lies in one block of memory, in floats an example, so that values that are
// needed at the same time do not overlap (liveness), and others share their place.
struct MemoryPlan {
  std::vector<uint64_t> offset;  // one a value
  uint64_t size = 0;             // floats an example
};

MemoryPlan plan_memory(const Graph& graph);

}  // namespace stockpot

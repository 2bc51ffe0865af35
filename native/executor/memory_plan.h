#pragma once
#include "graph.h"

namespace stockpot {

constexpr uint64_t kNowhere = UINT64_MAX;

// What a plan counts memory in. As it is: floats an example, where all is float32 and an attention
// keeps its probabilities for the backward pass, as on the processor.
struct PlanUnits {
  uint64_t element = 1;   // of a value
  uint64_t log_sum = 0;   // of a query and head, where an attention keeps one number of each and is
                          // computed again from its operands and its output; 0: probabilities
  uint64_t multiple = 1;  // sizes are rounded up to multiples of it, and so are places
};

// Where each value lies in one block of memory, so that values that are needed at the same time do
// not overlap (liveness), and others share their place.
struct MemoryPlan {
  std::vector<uint64_t> offset;  // one a value
  uint64_t size = 0;
};

MemoryPlan plan_memory(const Graph& graph, const PlanUnits& units = {});

// The same for a forward and a backward pass. The operations are cut into segments: what the
// backward pass needs of the last one is kept from the forward pass; of the others only what
// crosses their borders is, and the rest is computed again, to the same bits, when the backward
// pass gets there (Chen et al. 2016, "Training deep nets with sublinear memory cost"). One segment
// keeps everything.
struct TrainingPlan {
  std::vector<size_t> begins;  // first operation of each segment; and the number of operations
  std::vector<uint64_t> forward, backward;  // one a value: its place in either pass
  std::vector<bool> crosses;                // one a value: is needed outside of its segment
  std::vector<uint64_t> gradient;           // one a value; kNowhere where it has none
  // One an operation, kNowhere where not needed:
  // x·W + b before an activation; probabilities of an attention, or the sums they come from
  std::vector<uint64_t> before;
  std::vector<uint64_t> temporary;  // room for the gradient of that
  // Bits by operation: x 1, y 2, z 4: the operand's gradient was begun by a later operation, and
  // this one adds to it.
  std::vector<uint8_t> adds;
  // One an operation: the output's gradient becomes that of x, or z (linear), where it lies.
  std::vector<bool> moves;
  uint64_t size = 0;

  size_t segments() const { return begins.size() - 1; }
  bool last_segment(size_t op) const { return op >= begins[begins.size() - 2]; }
};

TrainingPlan plan_training(const Graph& graph, size_t segments, const PlanUnits& units = {});

// The plan of fewest segments that takes at most `size`, or of least memory.
TrainingPlan plan_training_within(const Graph& graph, uint64_t size, const PlanUnits& units = {});

}  // namespace stockpot

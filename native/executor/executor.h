#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../kernels/dtype.h"
#include "graph.h"
#include "memory_plan.h"
#include "pool.h"

namespace stockpot {

// The values of one input for one batch, row-major; shared inputs have no batch dimension.
struct InputData {
  const float* floats = nullptr;
  const int32_t* integers = nullptr;
};

// Runs a graph forward on the CPU. Weights are put in piece by piece (from a merge, say) and
// replaced by the next ingredient's without a new plan. After the first batch nothing is allocated.
class Executor {
 public:
  // `largest_batch` examples at a time. Throws std::bad_alloc.
  Executor(Graph graph, uint32_t largest_batch, uint32_t threads, const NetworkOps* ops);

  const Graph& graph() const { return graph_; }
  uint32_t largest_batch() const { return batch_; }
  uint32_t threads() const { return pool_.threads(); }
  uint64_t bytes() const;  // of weights and activations

  // Elements [first, first + count) of a weight, of any float type.
  void set_weight(int32_t weight, uint64_t first, uint64_t count, DType dtype, const uint8_t* data);

  // Runs `batch` ≤ largest_batch() examples; `out` gets one row of the output's columns an example.
  // Token ids must be within their tables; "" or what is wrong with them.
  std::string run(const std::vector<InputData>& inputs, uint32_t batch, float* out);

 private:
  float* value(int32_t v) { return arena_.data() + plan_.offset[v] * batch_; }
  const float* weight(int32_t w) const { return weights_[w].data(); }
  void run_op(const GraphOp& op, const std::vector<InputData>& inputs, uint32_t batch);
  void linear(const GraphOp& op, uint32_t batch);
  void attention(const GraphOp& op, const std::vector<InputData>& inputs, uint32_t batch);
  void rows(uint64_t count, const std::function<void(uint64_t)>& row);
  std::string check_ids(const std::vector<InputData>& inputs, uint32_t batch) const;

  Graph graph_;
  MemoryPlan plan_;
  uint32_t batch_;
  const NetworkOps* ops_;
  Pool pool_;
  std::vector<float> arena_;
  std::vector<std::vector<float>> weights_;
  std::vector<uint8_t>
      packed_;  // per weight: 0 as stored, 1 packed from [n, k], 2 packed from [k, n]
  std::vector<std::vector<float>> scratch_;  // per thread, for attention
  std::vector<float> shared_packed_;         // similarity's input
};

}  // namespace stockpot

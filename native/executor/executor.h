#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../kernels/dtype.h"
#include "../pages.h"
#include "memory_plan.h"
#include "network.h"
#include "pool.h"

namespace stockpot {

// How much memory an executor takes, in floats, part by part.
struct ExecutorSizes {
  uint64_t arena = 0;
  std::vector<uint64_t> weights;
  uint64_t scratch = 0;  // each thread's
  uint64_t similarity = 0;
  // For training:
  std::vector<uint64_t> gradients, input_gradients;
  uint64_t partial = 0, packed_a = 0, packed_b = 0;

  uint64_t bytes(uint32_t threads) const;
};

// `plan` of nullptr: without training.
ExecutorSizes executor_sizes(const Graph& graph, const TrainingPlan* plan, uint32_t largest_batch,
                             const NetworkOps& ops);

// Runs a graph forward on the CPU, and backward where it was made with a training plan. Weights are
// put in piece by piece (from a merge, say) and replaced by the next ingredient's without a new
// plan. After the first batch nothing is allocated.
class Executor : public Network {
 public:
  // `largest_batch` examples at a time. Throws std::bad_alloc.
  Executor(Graph graph, uint32_t largest_batch, uint32_t threads, const NetworkOps* ops);
  Executor(Graph graph, TrainingPlan plan, uint32_t largest_batch, uint32_t threads,
           const NetworkOps* ops);

  const Graph& graph() const override { return graph_; }
  uint32_t largest_batch() const override { return batch_; }
  uint32_t threads() const override { return pool_.threads(); }
  bool training() const override { return training_; }
  uint64_t bytes() const override { return bytes_; }

  // Elements [first, first + count) of a weight, of any float type.
  void set_weight(int32_t weight, uint64_t first, uint64_t count, DType dtype, const uint8_t* data);

  // `stop` is asked before each operation.
  std::string run(const std::vector<InputData>& inputs, uint32_t batch, float* out,
                  const std::function<bool()>& stop) override {
    const std::string wrong = begin(inputs, batch);
    if (!wrong.empty()) return wrong;
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (stop()) return "";
      run_op(i, inputs, batch, training_ && plan_.last_segment(i));
    }
    finish(batch, out);
    return "";
  }

  // The sums over the batch's rows are taken in order, so they do not depend on the threads.
  std::string backward(const std::vector<InputData>& inputs, uint32_t batch, const float* dout,
                       const std::function<bool()>& stop) override;

  void zero_gradients() override;
  std::vector<float> copy_gradient(int32_t weight) override { return copied(gradients_[weight]); }
  std::vector<float> copy_input_gradient(int32_t input) override {
    return copied(input_gradients_[input]);
  }
  // As the weight is stored, row-major.
  const float* gradient(int32_t weight) const { return gradients_[weight].data(); }

 private:
  void allocate();
  std::string begin(const std::vector<InputData>& inputs, uint32_t batch);
  void finish(uint32_t batch, float* out);

  float* value(int32_t v) { return arena_.data() + (*offsets_)[v] * batch_; }
  const float* weight(int32_t w) const { return weights_[w].data(); }
  void run_op(size_t index, const std::vector<InputData>& inputs, uint32_t batch, bool keep);
  void linear(const GraphOp& op, float* before, uint32_t batch);
  void attention(const GraphOp& op, float* before, const std::vector<InputData>& inputs,
                 uint32_t batch);
  void finish_scores(const GraphOp& op, const int32_t* mask, const float* table, size_t i,
                     size_t head, size_t keys, bool causal, float* row) const;
  uint64_t selected_row(const GraphOp& op, const std::vector<InputData>& inputs, uint64_t example);
  // Blocks of rows and, where there are few, groups of panels, over the threads.
  void multiply(const Gemm& g);

  static std::vector<float> copied(const Pages<float>& x) { return {x.begin(), x.end()}; }

  // The backward pass (backward.cc).
  struct Backward;
  float* gradient_of(int32_t v) { return arena_.data() + plan_.gradient[v] * batch_; }
  bool has_gradient(int32_t v) const { return v >= 0 && plan_.gradient[v] != kNowhere; }

  // Calls row(r) for each row, blocks of rows spread over the threads.
  template <class Row>
  void rows(uint64_t count, const Row& row) {
    constexpr uint64_t kBlock = 32;
    pool_.each((count + kBlock - 1) / kBlock, [&](size_t block, uint32_t) {
      const uint64_t end = std::min(count, (block + 1) * kBlock);
      for (uint64_t r = block * kBlock; r < end; ++r) row(r);
    });
  }

  Graph graph_;
  TrainingPlan plan_;  // without training: only `forward`, and its size
  bool training_;
  uint32_t batch_;
  uint64_t bytes_ = 0;
  const NetworkOps* ops_;
  Pool pool_;
  const std::vector<uint64_t>* offsets_;  // of the values, in the pass at hand
  Pages<float> arena_;
  std::vector<Pages<float>> weights_;
  std::vector<uint8_t> packed_;        // per weight: how_packed
  std::vector<Pages<float>> scratch_;  // per thread, for attention
  Pages<float> shared_packed_;         // similarity's input, packed

  uint32_t ran_ = 0;  // examples of the run that backward() may follow
  std::vector<Pages<float>> gradients_, input_gradients_;
  Pages<float> partial_;              // sums over blocks of rows
  Pages<float> packed_a_, packed_b_;  // operands of products
};

}  // namespace stockpot

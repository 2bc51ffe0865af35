#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "graph.h"

namespace stockpot {

class ResidentSet;  // ../stream/resident_set.h

// The smallest and the largest of some ids.
struct IdRange {
  int32_t least, most;
};

// The values of one input for one batch, row-major; shared inputs have no batch dimension. On a
// device they may also be rows of a table of a set that stays there.
struct InputData {
  const float* floats = nullptr;
  const int32_t* integers = nullptr;
  std::shared_ptr<const ResidentSet> set;
  size_t table = 0;
  const uint32_t* rows = nullptr;  // one an example
  const IdRange* ids = nullptr;    // of all rows of the table, where it has integers
};

// A graph with its weights, ready to run: on the processor (executor.h), or on a device
// (../stream/device_network.h).
class Network {
 public:
  virtual ~Network() = default;
  virtual const Graph& graph() const = 0;
  virtual uint32_t largest_batch() const = 0;
  virtual uint32_t threads() const = 0;  // of the process, while it runs
  virtual bool training() const = 0;     // has a backward pass
  virtual uint64_t bytes() const = 0;    // of weights, activations and gradients

  // Runs `batch` ≤ largest_batch() examples; `out` gets one row of the output's columns an example.
  // Token ids must be within their tables; "" or what is wrong with them. `stop` is asked now and
  // then; where it says yes, the rest is left out and so is `out`.
  virtual std::string run(const std::vector<InputData>& inputs, uint32_t batch, float* out,
                          const std::function<bool()>& stop) = 0;

  // Adds the derivatives of a loss by each weight to the gradients: `dout` has its derivatives by
  // the output of the run just before, which had the same inputs and batch. Once for each run.
  // `stop` as for run(); the gradients are then worth nothing.
  virtual std::string backward(const std::vector<InputData>& inputs, uint32_t batch,
                               const float* dout, const std::function<bool()>& stop) = 0;
  virtual void zero_gradients() = 0;
  // Copies, as the weight is stored; and of a shared input of floats that the output depends on by
  // a similarity, else nothing.
  virtual std::vector<float> copy_gradient(int32_t weight) = 0;
  virtual std::vector<float> copy_input_gradient(int32_t input) = 0;
};

// "" or which id is not within its table; of rows of a set, one of their ids that are not.
std::string check_ids(const Graph& graph, const std::vector<InputData>& inputs, uint32_t batch);

}  // namespace stockpot

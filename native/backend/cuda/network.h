#pragma once
// A network on a device: its graph, where its parts lie, and running them.
#include <vector>

#include "../../kernels/cuda/network/gradient_range.h"
#include "../../kernels/cuda/network/rows.h"
#include "context.h"
#include "network_graphs.h"
#include "network_layout.h"
#include "network_ops.h"

struct stockpot_network {
  stockpot::Graph graph;
  stockpot::cuda::NetworkLayout layout;
  uint8_t* memory = nullptr;
  uint32_t ran = 0;  // examples of the forward pass that a backward pass may follow
  stockpot::cuda::NetworkGraphs graphs;
};

namespace stockpot::cuda {

// One forward or backward pass over a batch: every function puts work on the stream and returns.
class NetworkPass {
 public:
  NetworkPass(stockpot_context& context, stockpot_network& network,
              const stockpot_network_input* inputs, uint32_t batch, cudaStream_t stream);

  cudaError_t forward(float* out);
  cudaError_t backward(const float* dout);

 private:
  // Forward (network_forward.cc). `keep`: also what the backward pass needs besides values.
  cudaError_t run(size_t index, bool keep);
  cudaError_t linear(size_t index, bool keep);
  cudaError_t attend(size_t index, bool keep);
  cudaError_t similarity(const GraphOp& op);

  // Backward (network_backward.cc).
  cudaError_t gradients_of_all();
  cudaError_t gradient(size_t index);
  cudaError_t linear_gradient(size_t index);
  cudaError_t attend_gradient(size_t index);
  cudaError_t similarity_gradient(size_t index);
  cudaError_t pass_on(size_t index, int operand, int32_t v);

  const GraphValue& shape(int32_t v) const { return graph_.values[v]; }
  uint64_t rows(int32_t v) const { return shape(v).rows * batch_; }
  uint64_t elements(int32_t v) const { return shape(v).size() * batch_; }

  uint8_t* at(uint64_t place) const { return network_.memory + place; }
  uint8_t* activation(uint64_t place) const { return at(layout_.activations + place); }
  void* value(int32_t v) const { return v < 0 ? nullptr : activation((*places_)[v]); }
  bool has_gradient(int32_t v) const { return v >= 0 && layout_.plan.gradient[v] != kNowhere; }
  // nullptr where there is none.
  void* gradient_of(int32_t v) const {
    return has_gradient(v) ? activation(layout_.plan.gradient[v]) : nullptr;
  }
  bool adds(size_t index, int operand) const { return layout_.plan.adds[index] >> operand & 1; }
  void* before(size_t index) const {
    const uint64_t place = layout_.plan.before[index];
    return place == kNowhere ? nullptr : activation(place);
  }

  const void* matrix(int32_t w) const { return at(layout_.weights[w]); }
  // The table from row `first` on.
  const void* row_of(int32_t w, int64_t first, uint64_t columns) const {
    return at(layout_.weights[w] + static_cast<uint64_t>(first) * columns * byte_size(number_));
  }
  const float* vector(int32_t w) const {
    return w < 0 ? nullptr : reinterpret_cast<const float*>(at(layout_.weights[w]));
  }
  float* weight_gradient(int32_t w) const {
    return w < 0 ? nullptr : reinterpret_cast<float*>(at(layout_.gradients[w]));
  }
  GradientRange* range() const { return reinterpret_cast<GradientRange*>(at(layout_.range)); }
  float* partial() const { return reinterpret_cast<float*>(at(layout_.partial)); }

  template <class T>
  const T* input(int32_t i) const {
    return reinterpret_cast<const T*>(inputs_[i].data);
  }
  Ids ids(int32_t i) const { return {input<int32_t>(i), graph_.inputs[i].shared}; }
  Attention attention_at(size_t index) const;
  // Similarity's input in the network's number.
  cudaError_t features(const GraphOp& op, const void** to);
  // `rows_each`: how many an example brings to the dimension that counts rows of the batch.
  cudaError_t multiply(const Matmul& p, uint64_t rows_each);

  stockpot_context& context_;
  stockpot_network& network_;
  const Graph& graph_;
  const NetworkLayout& layout_;
  const Number number_;
  const stockpot_network_input* inputs_;
  const uint32_t batch_;
  const cudaStream_t stream_;
  const std::vector<uint64_t>* places_;  // of the values, in the pass at hand
};

}  // namespace stockpot::cuda

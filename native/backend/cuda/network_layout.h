#pragma once
#include <string>
#include <vector>

#include "../../executor/graph.h"
#include "../../executor/memory_plan.h"
#include "../../kernels/cuda/network/number.h"
#include "../../kernels/dtype.h"
#include "../backend.h"

namespace stockpot::cuda {

// Where everything that a network holds lies in its one block of device memory, in bytes from its
// begin; all places are multiples of 256. In this order: weights, gradients, values, scratch.
struct NetworkLayout {
  Number number = Number::kF32;
  uint32_t largest_batch = 0;
  bool training = false;

  std::vector<uint64_t> weights;          // one a weight
  std::vector<DType> weight_types;        // F32 for vectors, else the network's number
  std::vector<uint64_t> gradients;        // of training: one a weight, float32
  std::vector<uint64_t> input_gradients;  // one an input; kNowhere where there is none
  uint64_t first_gradient = 0, gradient_bytes = 0;

  // Of values and what the backward pass needs besides. Without training only `forward`, and
  // nothing is kept.
  TrainingPlan plan;
  uint64_t activations = 0;  // where its places begin

  std::vector<uint64_t> buckets;  // one an operation, kNowhere where it has none
  uint64_t features = 0;          // similarity's input in the network's number
  uint64_t partial = 0;           // sums of parts of rows
  uint64_t attention = 0;         // attention_gradient's
  uint64_t products = 0;          // matrix products'
  uint64_t range = kNowhere;      // of training in float16: a GradientRange

  stockpot_network_sizes sizes{};
  uint64_t bytes = 0;  // all of it
};

// `graph` as read_graph gave it. Returns "" or what is wrong.
std::string lay_out(const Graph& graph, const stockpot_network_spec& spec, NetworkLayout* layout);

}  // namespace stockpot::cuda

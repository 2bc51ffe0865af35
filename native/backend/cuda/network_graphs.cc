#include "network_graphs.h"

#include <algorithm>
#include <new>

namespace stockpot::cuda {
namespace {

// A launch takes the host 2 to 3 microseconds, one through cuBLASLt more. Most operations are one
// launch; a linear layer in half precision is up to three (its bias, the product, what follows).
constexpr double kLaunchSeconds = 3e-6, kLaunchesEach = 2;
// Peaks of an H200 ("NVIDIA H200 Tensor Core GPU", data sheet): dense bfloat16, float32, memory.
constexpr double kHalfRate = 989e12, kFloatRate = 67e12, kBytesRate = 4.8e12;

// Floating-point operations of an example.
double work_of(const Graph& graph, const GraphOp& op) {
  const auto size = [&](int32_t v) { return static_cast<double>(graph.values[v].size()); };
  switch (op.kind) {
    case OpKind::kLinear:
    case OpKind::kSimilarity:
      return 2 * size(op.out) * static_cast<double>(graph.values[op.x].columns);
    case OpKind::kAttention:
      // Queries by keys by width, twice.
      return 4 * size(op.out) * static_cast<double>(graph.values[op.y].rows) /
             static_cast<double>(op.numbers[6] != 0 ? 1 : op.numbers[5]);
    default:
      return 0;
  }
}

}  // namespace

bool launches_dominate(const Graph& graph, Number number, uint64_t batch) {
  const double rate = number == Number::kF32 ? kFloatRate : kHalfRate;
  const double examples = static_cast<double>(batch), width = byte_size(number);
  double host = 0, device = 0;
  for (const GraphOp& op : graph.ops) {
    double moved = static_cast<double>(graph.values[op.out].size());
    if (op.x >= 0) moved += static_cast<double>(graph.values[op.x].size());
    device += examples * std::max(work_of(graph, op) / rate, moved * width / kBytesRate);
    host += kLaunchesEach * kLaunchSeconds;
  }
  return device < host;
}

NetworkGraphs::~NetworkGraphs() {
  for (Known& known : known_) forget(known);
  if (stream_) cudaStreamDestroy(stream_);
}

// A graph that still runs is freed when it has ended (cudaGraphExecDestroy's documentation).
void NetworkGraphs::forget(Known& known) {
  if (known.graph) cudaGraphExecDestroy(known.graph);
  known.graph = nullptr;
}

NetworkGraphs::Known& NetworkGraphs::find(const std::string& key) {
  const auto at =
      std::find_if(known_.begin(), known_.end(), [&](const Known& k) { return k.key == key; });
  if (at != known_.end()) {
    known_.splice(known_.begin(), known_, at);
  } else {
    if (known_.size() == kMost) {
      forget(known_.back());
      known_.pop_back();
    }
    known_.emplace_front();
    known_.front().key = key;
  }
  return known_.front();
}

// By thread, so that other threads may allocate meanwhile. Nothing is left of what fails but that
// it is not tried again.
void NetworkGraphs::capture(Known& known, const Pass& pass) {
  cudaError_t e = cudaSuccess;
  if (!stream_) e = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  if (e == cudaSuccess) e = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
  if (e == cudaSuccess) {
    try {
      e = pass(stream_);
    } catch (const std::bad_alloc&) {
      e = cudaErrorMemoryAllocation;
    }
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
    if (e == cudaSuccess) e = ended;
    if (e == cudaSuccess) e = cudaGraphInstantiate(&known.graph, graph, 0);
    if (graph) cudaGraphDestroy(graph);
  }
  if (e == cudaSuccess) return;
  known.graph = nullptr;
  known.refused = true;
  cudaGetLastError();
}

cudaError_t NetworkGraphs::run(const std::string& key, const Pass& pass, cudaStream_t stream) {
  Known& known = find(key);
  // The first time is not captured: it chooses among ways to multiply, which takes memory and
  // waits; and what comes only once is not worth it.
  if (known.ran && !known.refused && !known.graph) capture(known, pass);
  if (known.graph) {
    if (cudaGraphLaunch(known.graph, stream) == cudaSuccess) return cudaSuccess;
    cudaGetLastError();
    forget(known);
    known.refused = true;
  }
  const cudaError_t e = pass(stream);
  known.ran = e == cudaSuccess;
  return e;
}

}  // namespace stockpot::cuda

#pragma once
// Passes over small batches that come again and again, as CUDA graphs: one launch in place of
// hundreds, each of which takes the host longer than it takes the device.
#include <cuda_runtime_api.h>

#include <functional>
#include <list>
#include <string>

#include "../../executor/graph.h"
#include "../../kernels/cuda/network/number.h"

namespace stockpot::cuda {

// Whether launching a pass's kernels may take longer than running them: whether the device, at the
// peak of an H200, would be through with `batch` examples before the host has launched everything.
bool launches_dominate(const Graph& graph, Number number, uint64_t batch);

// The passes of one network. Used by one thread at a time, as the network is.
class NetworkGraphs {
 public:
  using Pass = std::function<cudaError_t(cudaStream_t)>;

  NetworkGraphs() = default;
  // When the device has come to rest.
  ~NetworkGraphs();
  NetworkGraphs(const NetworkGraphs&) = delete;
  NetworkGraphs& operator=(const NetworkGraphs&) = delete;

  // Puts a pass on the stream. `key`: everything that its launches depend on, addresses first of
  // all; what lies at the addresses may change. A pass that comes for the second time is captured;
  // what cannot be captured is launched kernel by kernel from then on.
  cudaError_t run(const std::string& key, const Pass& pass, cudaStream_t stream);

 private:
  struct Known {
    std::string key;
    bool ran = false, refused = false;
    cudaGraphExec_t graph = nullptr;
  };
  // The least recently used is forgotten. An evaluation has a few: two buffers, the last batch.
  static constexpr size_t kMost = 16;

  Known& find(const std::string& key);
  void capture(Known& known, const Pass& pass);
  static void forget(Known& known);

  std::list<Known> known_;  // the last used first
  // Its own, so that nothing that other threads put on a stream of the context is recorded.
  cudaStream_t stream_ = nullptr;
};

}  // namespace stockpot::cuda

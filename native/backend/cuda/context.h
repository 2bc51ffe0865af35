#pragma once
// What the handles of ../backend.h are here.
#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <vector>

#include "../../kernels/cuda/launch.h"
#include "../../kernels/cuda/plan.h"
#include "products.h"

struct stockpot_context {
  int device = 0;
  stockpot::cuda::DeviceShape shape{};
  cudaStream_t streams[3] = {};
  // Plans' tables come and go with every tile of a stream: from a pool, so that the device need not
  // come to rest each time.
  cudaStream_t tables = nullptr;
  cudaMemPool_t pool = nullptr;
  // Made with the first network that is not float32: opening cuBLASLt takes time and memory.
  std::mutex products_mutex;
  std::unique_ptr<stockpot::cuda::Products> products;
};

struct stockpot_event {
  cudaEvent_t event = nullptr;
};

struct stockpot_plan {
  stockpot::cuda::HostPlan host;
  void* memory = nullptr;  // all tables, one block
  stockpot_tensor* tensors = nullptr;
  stockpot_input* inputs = nullptr;
  double* weights = nullptr;
  stockpot::cuda::Facts* facts = nullptr;
  uint64_t* group_tiles = nullptr;
  double* partial = nullptr;
};

namespace stockpot::cuda {

// Fills *failure from a status of the runtime and returns its status. `what` is what was tried.
int report(cudaError_t status, const char* what, stockpot_failure* failure);
int invalid(const char* what, stockpot_failure* failure);

int plan_create(stockpot_context*, const stockpot_plan_spec*, stockpot_plan**, stockpot_failure*);
int plan_run(stockpot_context*, stockpot_plan*, const double* weights, uint32_t stream,
             stockpot_failure*);
void plan_destroy(stockpot_context*, stockpot_plan*);

int network_plan(stockpot_context*, const stockpot_network_spec*, stockpot_network_sizes*,
                 stockpot_failure*);
int network_create(stockpot_context*, const stockpot_network_spec*, stockpot_network**,
                   stockpot_failure*);
void network_destroy(stockpot_context*, stockpot_network*);
int network_weight(stockpot_context*, stockpot_network*, uint32_t i, uint64_t* address,
                   uint32_t* dtype, stockpot_failure*);
int network_gradient(stockpot_context*, stockpot_network*, uint32_t i, uint64_t* address,
                     stockpot_failure*);
int network_input_gradient(stockpot_context*, stockpot_network*, uint32_t i, uint64_t* address,
                           stockpot_failure*);
int network_forward(stockpot_context*, stockpot_network*, const stockpot_network_input*,
                    uint32_t batch, uint64_t out, uint32_t stream, stockpot_failure*);
int network_backward(stockpot_context*, stockpot_network*, const stockpot_network_input*,
                     uint32_t batch, uint64_t dout, uint32_t stream, stockpot_failure*);
int network_zero_gradients(stockpot_context*, stockpot_network*, uint32_t stream,
                           stockpot_failure*);

int gather(stockpot_context*, const stockpot_gather*, uint32_t stream, stockpot_failure*);

}  // namespace stockpot::cuda

#include <cstring>
#include <memory>
#include <new>

#include "context.h"

namespace stockpot::cuda {
namespace {

constexpr size_t kAlign = 256;
size_t padded(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

template <class T>
size_t bytes_of(const std::vector<T>& v) {
  return padded(v.size() * sizeof(T));
}

// Copies a table to its place in the block and moves on.
template <class T>
cudaError_t place(const std::vector<T>& table, uint8_t** at, T** placed, cudaStream_t stream) {
  *placed = reinterpret_cast<T*>(*at);
  *at += bytes_of(table);
  if (table.empty()) return cudaSuccess;
  return cudaMemcpyAsync(*placed, table.data(), table.size() * sizeof(T), cudaMemcpyHostToDevice,
                         stream);
}

int create(stockpot_context* c, const stockpot_plan_spec& spec, stockpot_plan** out,
           stockpot_failure* failure) {
  auto plan = std::make_unique<stockpot_plan>();
  HostPlan& host = plan->host;
  const std::string wrong = make_plan(spec, &host);
  if (!wrong.empty()) return invalid(wrong.c_str(), failure);
  const size_t partial = padded(host.tiles * host.row * sizeof(double));
  const size_t bytes = bytes_of(host.tensors) + bytes_of(host.inputs) + bytes_of(host.weights) +
                       bytes_of(host.facts) + bytes_of(host.group_tiles) + partial;
  int status = report(cudaSetDevice(c->device), "choosing the device", failure);
  if (status) return status;
  status = report(cudaMallocFromPoolAsync(&plan->memory, bytes, c->pool, c->tables),
                  "memory for a plan", failure);
  if (status) {
    failure->bytes_asked = bytes;
    return status;
  }
  uint8_t* at = static_cast<uint8_t*>(plan->memory);
  cudaError_t e = place(host.tensors, &at, &plan->tensors, c->tables);
  if (e == cudaSuccess) e = place(host.inputs, &at, &plan->inputs, c->tables);
  if (e == cudaSuccess) e = place(host.weights, &at, &plan->weights, c->tables);
  if (e == cudaSuccess) e = place(host.facts, &at, &plan->facts, c->tables);
  if (e == cudaSuccess) e = place(host.group_tiles, &at, &plan->group_tiles, c->tables);
  plan->partial = reinterpret_cast<double*>(at);
  if (e == cudaSuccess) e = cudaStreamSynchronize(c->tables);
  if (e != cudaSuccess) cudaFreeAsync(plan->memory, c->tables);
  status = report(e, "copying a plan's tables", failure);
  if (!status) *out = plan.release();
  return status;
}

}  // namespace

int plan_create(stockpot_context* c, const stockpot_plan_spec* spec, stockpot_plan** out,
                stockpot_failure* failure) {
  try {
    return create(c, *spec, out, failure);
  } catch (const std::bad_alloc&) {
    return invalid("out of host memory for a plan", failure);
  }
}

int plan_run(stockpot_context* c, stockpot_plan* plan, const double* weights, uint32_t stream,
             stockpot_failure* failure) {
  const HostPlan& host = plan->host;
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  cudaStream_t s = c->streams[stream];
  cudaError_t e = cudaSetDevice(c->device);
  if (e == cudaSuccess && weights && !host.weights.empty()) {
    // From pageable memory: the call returns when the numbers are on their way.
    e = cudaMemcpyAsync(plan->weights, weights, host.weights.size() * sizeof(double),
                        cudaMemcpyHostToDevice, s);
  }
  Tables t{};
  t.tensors = plan->tensors;
  t.inputs = plan->inputs;
  t.weights = plan->weights;
  t.result = host.result;
  t.partial = plan->partial;
  t.k = host.k;
  t.facts = plan->facts;
  t.fact_count = static_cast<uint32_t>(host.facts.size());
  t.tiles = host.tiles;
  if (e == cudaSuccess && t.tiles) {
    e = host.operation == STOCKPOT_MEAN   ? launch_mean(t, c->shape, s)
        : host.operation == STOCKPOT_DOTS ? launch_dots(t, c->shape, s)
                                          : launch_gram(t, c->shape, s);
  }
  const uint32_t groups =
      host.group_tiles.empty() ? 0 : static_cast<uint32_t>(host.group_tiles.size() - 1);
  if (e == cudaSuccess && groups) {
    if (host.operation == STOCKPOT_DOTS) e = sum_dots(t, plan->group_tiles, groups, s);
    if (host.operation == STOCKPOT_GRAM) e = sum_gram(t, plan->group_tiles, groups, s);
  }
  return report(e, "starting a plan", failure);
}

void plan_destroy(stockpot_context* c, stockpot_plan* plan) {
  if (!plan) return;
  cudaSetDevice(c->device);
  cudaFreeAsync(plan->memory, c->tables);
  delete plan;
}

}  // namespace stockpot::cuda

#include "network.h"

#include <memory>
#include <new>

#include "choices.h"
#include "network_spec.h"
#include "products.h"

namespace stockpot::cuda {
namespace {

using Context = stockpot_context;
using Failure = stockpot_failure;
using Network = stockpot_network;

// Calls f, which returns a status; what it may throw becomes one.
template <class F>
int guarded(const F& f, Failure* failure) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return invalid("out of host memory for a network", failure);
  }
}

int make(const stockpot_network_spec& spec, Network* network, Failure* failure) {
  std::string wrong = read_graph(spec, &network->graph);
  if (wrong.empty()) wrong = lay_out(network->graph, spec, &network->layout);
  return wrong.empty() ? STOCKPOT_OK : invalid(wrong.c_str(), failure);
}

// Gradients, which are added to, begin as zeros.
cudaError_t fill(Context* c, Network* network) {
  const NetworkLayout& l = network->layout;
  cudaError_t e = cudaSuccess;
  for (size_t i = 0; i < network->graph.ops.size() && e == cudaSuccess; ++i) {
    if (l.buckets[i] == kNowhere) continue;
    const std::vector<int32_t>& buckets = network->graph.ops[i].buckets;
    e = cudaMemcpyAsync(network->memory + l.buckets[i], buckets.data(),
                        buckets.size() * sizeof(int32_t), cudaMemcpyHostToDevice, c->tables);
  }
  if (e == cudaSuccess && l.gradient_bytes) {
    e = cudaMemsetAsync(network->memory + l.first_gradient, 0, l.gradient_bytes, c->tables);
  }
  return e == cudaSuccess ? cudaStreamSynchronize(c->tables) : e;
}

int open_products(Context* c, Failure* failure) {
  const std::lock_guard<std::mutex> lock(c->products_mutex);
  if (c->products) return STOCKPOT_OK;
  cudaDeviceProp properties;
  const int status = report(cudaGetDeviceProperties(&properties, c->device),
                            "reading the device's properties", failure);
  if (!status) c->products = std::make_unique<Products>(properties.name, Choices::usual_folder());
  return status;
}

int check_pass(const Network& network, const stockpot_network_input* inputs, uint32_t batch,
               uint32_t stream, Failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  if (batch == 0 || batch > network.layout.largest_batch)
    return invalid("the batch is empty, or larger than the network was made for", failure);
  const Graph& graph = network.graph;
  if (!graph.inputs.empty() && !inputs) return invalid("a network's inputs are missing", failure);
  for (const GraphOp& op : graph.ops) {
    if (op.input < 0) continue;
    const stockpot_network_input& input = inputs[op.input];
    if (input.data == 0) return invalid("an input of the network is missing", failure);
    if (!input.bytes) continue;
    if (op.kind != OpKind::kPatches)
      return invalid("an input that is not of images is given as bytes", failure);
    if (op.numbers[0] > 4)
      return invalid("images of more than 4 channels are given as bytes", failure);
  }
  return STOCKPOT_OK;
}

// All that a pass's launches depend on: what the kernels are given by value.
std::string key_of(const Network& network, const stockpot_network_input* inputs, uint32_t batch,
                   uint64_t result, char direction) {
  std::string key(1, direction);
  const auto add = [&key](const auto& value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  add(batch);
  add(result);
  for (size_t i = 0; i < network.graph.inputs.size(); ++i) {
    add(inputs[i].data);
    add(inputs[i].bytes);
    if (inputs[i].bytes) add(inputs[i]);  // how they are normalised
  }
  return key;
}

// `result`: the output's place, or its derivatives'.
cudaError_t run_pass(Context* c, Network* network, const stockpot_network_input* inputs,
                     uint32_t batch, uint64_t result, bool forward, cudaStream_t stream) {
  const cudaError_t e = cudaSetDevice(c->device);
  if (e != cudaSuccess) return e;
  const auto pass = [&](cudaStream_t on) {
    NetworkPass run(*c, *network, inputs, batch, on);
    float* there = reinterpret_cast<float*>(result);
    return forward ? run.forward(there) : run.backward(there);
  };
  if (!launches_dominate(network->graph, network->layout.number, batch)) return pass(stream);
  return network->graphs.run(key_of(*network, inputs, batch, result, forward ? 'f' : 'b'), pass,
                             stream);
}

// Waits for a backward pass in float16, whose gradients count only where nothing was too large.
int check_range(const Network& network, cudaStream_t stream, Failure* failure) {
  GradientRange range{};
  cudaError_t e = cudaMemcpyAsync(&range, network.memory + network.layout.range, sizeof(range),
                                  cudaMemcpyDeviceToHost, stream);
  if (e == cudaSuccess) e = cudaStreamSynchronize(stream);
  const int status = report(e, "looking at a network's gradients", failure);
  if (status || !range.beyond) return status;
  invalid(
      "a gradient is not finite: float16 holds no more than 65504, or the loss's derivatives were "
      "not finite. Use bf16 or f32",
      failure);
  failure->status = STOCKPOT_FAILED;
  return STOCKPOT_FAILED;
}

}  // namespace

int network_plan(Context*, const stockpot_network_spec* spec, stockpot_network_sizes* sizes,
                 Failure* failure) {
  return guarded(
      [&] {
        Network network;
        const int status = make(*spec, &network, failure);
        if (!status) *sizes = network.layout.sizes;
        return status;
      },
      failure);
}

int network_create(Context* c, const stockpot_network_spec* spec, Network** out, Failure* failure) {
  return guarded(
      [&] {
        auto network = std::make_unique<Network>();
        int status = make(*spec, network.get(), failure);
        if (status) return status;
        status = report(cudaSetDevice(c->device), "choosing the device", failure);
        if (status) return status;
        if (network->layout.number != Number::kF32) status = open_products(c, failure);
        if (status) return status;
        const uint64_t bytes = network->layout.bytes;
        void* memory = nullptr;
        status = report(cudaMalloc(&memory, bytes ? bytes : 1), "memory for a network", failure);
        if (status) {
          failure->bytes_asked = bytes;
          return status;
        }
        network->memory = static_cast<uint8_t*>(memory);
        status = report(fill(c, network.get()), "copying a network's tables", failure);
        if (status) {
          cudaFree(memory);
          return status;
        }
        *out = network.release();
        return status;
      },
      failure);
}

void network_destroy(Context* c, Network* network) {
  if (!network) return;
  // Waits for the work that uses it.
  if (cudaSetDevice(c->device) == cudaSuccess) cudaFree(network->memory);
  delete network;
}

int network_weight(Context*, Network* network, uint32_t i, uint64_t* address, uint32_t* dtype,
                   Failure* failure) {
  const NetworkLayout& l = network->layout;
  if (i >= l.weights.size()) return invalid("there is no such weight", failure);
  *address = reinterpret_cast<uint64_t>(network->memory + l.weights[i]);
  *dtype = static_cast<uint32_t>(l.weight_types[i]);
  return STOCKPOT_OK;
}

int network_gradient(Context*, Network* network, uint32_t i, uint64_t* address, Failure* failure) {
  const NetworkLayout& l = network->layout;
  if (i >= l.weights.size()) return invalid("there is no such weight", failure);
  *address = l.training ? reinterpret_cast<uint64_t>(network->memory + l.gradients[i]) : 0;
  return STOCKPOT_OK;
}

int network_input_gradient(Context*, Network* network, uint32_t i, uint64_t* address,
                           Failure* failure) {
  const NetworkLayout& l = network->layout;
  if (i >= l.input_gradients.size()) return invalid("there is no such input", failure);
  const uint64_t place = l.input_gradients[i];
  *address = place == kNowhere ? 0 : reinterpret_cast<uint64_t>(network->memory + place);
  return STOCKPOT_OK;
}

int network_forward(Context* c, Network* network, const stockpot_network_input* inputs,
                    uint32_t batch, uint64_t out, uint32_t stream, Failure* failure) {
  int status = check_pass(*network, inputs, batch, stream, failure);
  if (!status && !out) status = invalid("the network's output has no place", failure);
  if (status) return status;
  network->ran = 0;
  return guarded(
      [&] {
        const cudaError_t e = run_pass(c, network, inputs, batch, out, true, c->streams[stream]);
        if (e == cudaSuccess) network->ran = batch;
        return report(e, "running a network", failure);
      },
      failure);
}

int network_backward(Context* c, Network* network, const stockpot_network_input* inputs,
                     uint32_t batch, uint64_t dout, uint32_t stream, Failure* failure) {
  int status = check_pass(*network, inputs, batch, stream, failure);
  if (!status && !dout) status = invalid("the derivatives by the output are missing", failure);
  if (status) return status;
  if (!network->layout.training)
    return invalid("the network was made without a backward pass", failure);
  if (network->ran != batch)
    return invalid("a backward pass must follow a forward pass of its batch", failure);
  network->ran = 0;  // activations are overwritten on the way
  return guarded(
      [&] {
        const cudaError_t e = run_pass(c, network, inputs, batch, dout, false, c->streams[stream]);
        const int failed = report(e, "running a network backward", failure);
        return failed || network->layout.range == kNowhere
                   ? failed
                   : check_range(*network, c->streams[stream], failure);
      },
      failure);
}

int network_zero_gradients(Context* c, Network* network, uint32_t stream, Failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  const NetworkLayout& l = network->layout;
  cudaError_t e = cudaSetDevice(c->device);
  if (e == cudaSuccess && l.gradient_bytes) {
    e = cudaMemsetAsync(network->memory + l.first_gradient, 0, l.gradient_bytes,
                        c->streams[stream]);
  }
  return report(e, "clearing gradients", failure);
}

}  // namespace stockpot::cuda

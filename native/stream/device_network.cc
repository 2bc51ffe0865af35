#include "device_network.h"

#include <chrono>
#include <cstring>

#include "graph_tables.h"
#include "resident_set.h"

namespace stockpot {

DeviceNetwork::DeviceNetwork(std::shared_ptr<Device> device, Graph graph, uint32_t number,
                             uint32_t largest_batch, bool training, uint64_t activation_bytes)
    : device_(std::move(device)),
      graph_(std::move(graph)),
      batch_(largest_batch),
      training_(training) {
  const GraphTables tables(graph_);
  const stockpot_network_spec spec = tables.spec(number, largest_batch, training, activation_bytes);
  network_ = Device::Network(*device_, spec);
  const stockpot_network_sizes sizes = Device::Network::sizes(*device_, spec);
  bytes_ = sizes.weights + sizes.activations + sizes.gradients + sizes.scratch;
  const uint64_t out = graph_.values[graph_.output].columns * largest_batch * sizeof(float);
  for (Batch& b : batches_) {
    if (training && !free_.empty()) break;
    for (const GraphInput& input : graph_.inputs) {
      const uint64_t bytes = input.elements * (input.shared ? 1 : largest_batch) * sizeof(float);
      b.inputs.emplace_back(*device_, bytes);
      stockpot_network_input place{};
      place.data = b.inputs.back().address();
      b.places.push_back(place);
      bytes_ += bytes;
    }
    b.out = Device::Memory(*device_, out);
    b.logits = Device::HostMemory(*device_, out);
    b.copied = Device::Event(*device_);
    b.done = Device::Event(*device_);
    bytes_ += out;
    free_.push_back(&b);
  }
  if (training) {
    dout_ = Device::Memory(*device_, out);
    bytes_ += out;
  }
}

DeviceNetwork::Batch* DeviceNetwork::take(const std::function<bool()>& stop) {
  std::unique_lock<std::mutex> lock(free_mutex_);
  while (free_.empty() && !stop()) freed_.wait_for(lock, std::chrono::milliseconds(20));
  if (stop()) return nullptr;
  Batch* b = free_.front();
  free_.pop_front();
  return b;
}

void DeviceNetwork::give_back(Batch* b) {
  {
    const std::lock_guard<std::mutex> lock(free_mutex_);
    free_.push_back(b);
  }
  freed_.notify_one();
}

template <class Work>
void DeviceNetwork::settled(const Work& work) {
  try {
    work();
  } catch (...) {
    const Settle settle{*device_};
    throw;
  }
}

// Uploads go beside what is computed; the rest waits for them, in one piece.
void DeviceNetwork::start(Batch* b, const std::vector<InputData>& inputs, uint32_t batch) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const GraphInput& input = graph_.inputs[i];
    if (inputs[i].rows) continue;
    const void* from = input.integers ? static_cast<const void*>(inputs[i].integers)
                                      : static_cast<const void*>(inputs[i].floats);
    device_->copy_in(STOCKPOT_COPY_IN, b->places[i].data, from,
                     input.elements * (input.shared ? 1 : batch) * sizeof(float));
  }
  b->copied.record(STOCKPOT_COPY_IN);
  const std::lock_guard<std::mutex> alone(device_->passing());
  b->copied.hold(STOCKPOT_COMPUTE);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const InputData& data = inputs[i];
    if (data.rows) {
      data.set->gather(data.table, data.rows, batch, graph_.inputs[i].elements, b->places[i].data,
                       STOCKPOT_COMPUTE);
    }
  }
  network_.forward(b->places.data(), batch, b->out.address(), STOCKPOT_COMPUTE);
  device_->copy_out(STOCKPOT_COMPUTE, b->logits.data(), b->out.address(),
                    graph_.values[graph_.output].columns * batch * sizeof(float));
  b->done.record(STOCKPOT_COMPUTE);
}

std::string DeviceNetwork::run(const std::vector<InputData>& inputs, uint32_t batch, float* out,
                               const std::function<bool()>& stop) {
  const std::string wrong = check_ids(graph_, inputs, batch);
  if (!wrong.empty()) return wrong;
  Batch* b = take(stop);
  if (!b) return "";
  try {
    settled([&] {
      start(b, inputs, batch);
      b->done.wait();
    });
  } catch (...) {
    give_back(b);
    throw;
  }
  std::memcpy(out, b->logits.data(), graph_.values[graph_.output].columns * batch * sizeof(float));
  give_back(b);
  return "";
}

std::string DeviceNetwork::backward(const std::vector<InputData>&, uint32_t batch,
                                    const float* dout, const std::function<bool()>& stop) {
  if (stop()) return "";
  const Batch& b = batches_[0];  // its inputs are still there from the forward pass
  settled([&] {
    const std::lock_guard<std::mutex> alone(device_->passing());
    device_->copy_in(STOCKPOT_COMPUTE, dout_.address(), dout,
                     graph_.values[graph_.output].columns * batch * sizeof(float));
    network_.backward(b.places.data(), batch, dout_.address(), STOCKPOT_COMPUTE);
    b.done.record(STOCKPOT_COMPUTE);
    b.done.wait();
  });
  return "";
}

void DeviceNetwork::zero_gradients() { network_.zero_gradients(STOCKPOT_COMPUTE); }

std::vector<float> DeviceNetwork::fetch(uint64_t address, uint64_t count) {
  std::vector<float> out(count);
  const Device::Event done(*device_);
  settled([&] {
    device_->copy_out(STOCKPOT_COMPUTE, out.data(), address, count * sizeof(float));
    done.record(STOCKPOT_COMPUTE);
    done.wait();
  });
  return out;
}

std::vector<float> DeviceNetwork::copy_gradient(int32_t weight) {
  const uint64_t address = gradient(weight), count = graph_.weights[weight].elements();
  return address ? fetch(address, count) : std::vector<float>(count);
}

std::vector<float> DeviceNetwork::copy_input_gradient(int32_t input) {
  const uint64_t address = network_.input_gradient(static_cast<uint32_t>(input));
  return address ? fetch(address, graph_.inputs[input].elements) : std::vector<float>();
}

}  // namespace stockpot

#include "device_network.h"

#include "graph_tables.h"

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
  for (const GraphInput& input : graph_.inputs) {
    const uint64_t bytes = input.elements * (input.shared ? 1 : largest_batch) * sizeof(float);
    inputs_.emplace_back(*device_, bytes);
    stockpot_network_input place{};
    place.data = inputs_.back().address();
    places_.push_back(place);
    bytes_ += bytes;
  }
  const uint64_t out = graph_.values[graph_.output].columns * largest_batch * sizeof(float);
  out_ = Device::Memory(*device_, out);
  if (training) dout_ = Device::Memory(*device_, out);
  bytes_ += out * (training ? 2 : 1);
}

std::string DeviceNetwork::run(const std::vector<InputData>& inputs, uint32_t batch, float* out,
                               const std::function<bool()>& stop) {
  const std::string wrong = check_ids(graph_, inputs, batch);
  if (!wrong.empty() || stop()) return wrong;
  const Settle settle{*device_};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const GraphInput& input = graph_.inputs[i];
    const void* from = input.integers ? static_cast<const void*>(inputs[i].integers)
                                      : static_cast<const void*>(inputs[i].floats);
    device_->copy_in(STOCKPOT_COMPUTE, places_[i].data, from,
                     input.elements * (input.shared ? 1 : batch) * sizeof(float));
  }
  network_.forward(places_.data(), batch, out_.address(), STOCKPOT_COMPUTE);
  device_->copy_out(STOCKPOT_COMPUTE, out, out_.address(),
                    graph_.values[graph_.output].columns * batch * sizeof(float));
  device_->synchronize();
  return "";
}

std::string DeviceNetwork::backward(const std::vector<InputData>&, uint32_t batch,
                                    const float* dout, const std::function<bool()>& stop) {
  if (stop()) return "";
  const Settle settle{*device_};
  device_->copy_in(STOCKPOT_COMPUTE, dout_.address(), dout,
                   graph_.values[graph_.output].columns * batch * sizeof(float));
  // The inputs are still there from the forward pass.
  network_.backward(places_.data(), batch, dout_.address(), STOCKPOT_COMPUTE);
  device_->synchronize();
  return "";
}

void DeviceNetwork::zero_gradients() { network_.zero_gradients(STOCKPOT_COMPUTE); }

std::vector<float> DeviceNetwork::fetch(uint64_t address, uint64_t count) {
  std::vector<float> out(count);
  const Settle settle{*device_};
  device_->copy_out(STOCKPOT_COMPUTE, out.data(), address, count * sizeof(float));
  device_->synchronize();
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

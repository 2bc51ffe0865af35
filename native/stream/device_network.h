#pragma once
#include <memory>

#include "../backend/device.h"
#include "../executor/network.h"
#include "../kernels/dtype.h"

namespace stockpot {

// A network on a device. Inputs go there and logits come back with every batch; weights and
// gradients stay, and are reached by their addresses (device_mix_job.h, device_dot_job.h). Methods
// throw DeviceError.
class DeviceNetwork : public Network {
 public:
  // number: stockpot_number. activation_bytes: what values may take where it is for training; 0:
  // all that they need.
  DeviceNetwork(std::shared_ptr<Device> device, Graph graph, uint32_t number,
                uint32_t largest_batch, bool training, uint64_t activation_bytes);

  const Graph& graph() const override { return graph_; }
  uint32_t largest_batch() const override { return batch_; }
  uint32_t threads() const override { return 1; }
  bool training() const override { return training_; }
  uint64_t bytes() const override { return bytes_; }

  std::string run(const std::vector<InputData>& inputs, uint32_t batch, float* out,
                  const std::function<bool()>& stop) override;
  std::string backward(const std::vector<InputData>& inputs, uint32_t batch, const float* dout,
                       const std::function<bool()>& stop) override;
  void zero_gradients() override;
  std::vector<float> copy_gradient(int32_t weight) override;
  std::vector<float> copy_input_gradient(int32_t input) override;

  const std::shared_ptr<Device>& device() const { return device_; }
  // Where a weight lies, row-major as stored, and in what type.
  Device::Network::Weight weight(int32_t i) const {
    return network_.weight(static_cast<uint32_t>(i));
  }
  // Where its derivatives lie: float32.
  uint64_t gradient(int32_t i) const { return network_.gradient(static_cast<uint32_t>(i)); }

 private:
  std::vector<float> fetch(uint64_t address, uint64_t count);

  std::shared_ptr<Device> device_;  // outlives what follows
  Graph graph_;
  uint32_t batch_;
  bool training_;
  uint64_t bytes_ = 0;
  std::vector<Device::Memory> inputs_;  // of the last batch
  std::vector<stockpot_network_input> places_;
  Device::Memory out_, dout_;
  Device::Network network_;
};

}  // namespace stockpot

#pragma once
#include <array>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "../backend/device.h"
#include "../executor/network.h"
#include "../kernels/dtype.h"

namespace stockpot {

// A network on a device. Inputs go there with every batch, or are gathered from a set that stays
// there, and logits come back; weights and gradients stay, and are reached by their addresses
// (device_mix_job.h, device_dot_job.h). run() may be called by two threads at a time where it is
// not for training: the second's batch is under way to the device, and started, while the first's
// is computed. Methods throw DeviceError.
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
  // What a batch has beside the network: its inputs, and its logits on their way back.
  struct Batch {
    std::vector<Device::Memory> inputs;
    std::vector<stockpot_network_input> places;
    Device::Memory out;
    Device::HostMemory logits;
    Device::Event copied, done;
  };
  Batch* take(const std::function<bool()>& stop);
  void give_back(Batch* b);
  void start(Batch* b, const std::vector<InputData>& inputs, uint32_t batch);
  std::vector<float> fetch(uint64_t address, uint64_t count);
  // Where the work fails, waits for what it has started, which may still use the caller's memory.
  template <class Work>
  void settled(const Work& work);

  std::shared_ptr<Device> device_;  // outlives what follows
  Graph graph_;
  uint32_t batch_;
  bool training_;
  uint64_t bytes_ = 0;
  std::array<Batch, 2> batches_;  // for training the first only, whose inputs backward() needs
  std::mutex free_mutex_;
  std::condition_variable freed_;
  std::deque<Batch*> free_;
  Device::Memory dout_;
  Device::Network network_;
};

}  // namespace stockpot

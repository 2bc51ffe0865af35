#pragma once
// Running a NetworkCase on the processor and on a device.
#include "../../../native/backend/device.h"
#include "../../../native/stream/graph_tables.h"
#include "network_cases.h"

namespace stockpot::test {

// Of a forward pass and, where it was wanted, a backward pass.
struct Found {
  std::vector<float> out;
  std::vector<std::vector<float>> gradients;  // one a weight, then one a shared float input
};

// What the loss's derivatives by the output are taken to be.
std::vector<float> made_up_dout(const NetworkCase& c);

// `number`: what weights are rounded to before. With a backward pass, within `size` floats an
// example.
Found on_processor(const NetworkCase& c, uint32_t number, uint64_t size = UINT64_MAX);

// A case's network on a device.
class OnDevice {
 public:
  OnDevice(Device& device, const NetworkCase& c, uint32_t number, uint32_t largest_batch,
           bool training = true, uint64_t activation_bytes = 0);

  // Of examples [first, first + batch).
  void forward(uint32_t first, uint32_t batch, uint32_t stream = STOCKPOT_COMPUTE);
  void backward(uint32_t first, uint32_t batch, uint32_t stream = STOCKPOT_COMPUTE);
  std::vector<float> out(uint32_t batch) const;
  std::vector<std::vector<float>> gradients() const;
  // Both passes over the whole batch.
  Found run();

  // Other numbers in the same places.
  void set_weights(const NetworkCase& c);
  void set_floats(const std::vector<std::vector<float>>& floats);
  void set_dout(const std::vector<float>& dout);
  // The output goes elsewhere from now on.
  void move_output();

  const Device::Network& network() const { return network_; }
  // Gives images as bytes instead, which are normalised to what `c` has.
  void give_bytes(int32_t input, const std::vector<uint8_t>& bytes,
                  const stockpot_network_input& how);

 private:
  const stockpot_network_input* inputs_of(uint32_t first);
  std::vector<float> fetch(uint64_t from, uint64_t n) const;

  Device& device_;
  const NetworkCase& case_;
  Device::Network network_;
  std::vector<Device::Memory> data_;  // one an input
  std::vector<stockpot_network_input> how_, inputs_;
  Device::Memory out_, before_, dout_;
};

}  // namespace stockpot::test

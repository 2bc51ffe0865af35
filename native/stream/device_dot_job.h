#pragma once
#include "device_network.h"
#include "device_pass.h"

namespace stockpot {

// DotJob on a device: the dot product of each segment's vector, a gradient there, with each of its
// k inputs. Pieces are of a fixed size and their sums are added in order, so that the result does
// not depend on what lies where.
class DeviceDotJob : public DevicePass {
 public:
  // vectors: addresses of float32 on the network's device, one a segment; 0: zeros.
  DeviceDotJob(std::shared_ptr<DeviceNetwork> network, std::vector<uint64_t> vectors,
               DevicePassPlan plan)
      : DevicePass(network->device(), std::move(plan)),
        network_(std::move(network)),
        vectors_(std::move(vectors)) {}

  // After run(): segments × k.
  const std::vector<double>& sums() const { return sums_; }

 protected:
  void begin(size_t pieces) override;
  uint64_t scratch_of(const Piece&) const override { return 0; }
  void start(const std::vector<Piece>& pieces, std::vector<Device::Plan>* plans) override;
  void finish() override;

 private:
  struct Place {
    uint32_t segment;
    std::vector<uint32_t> positions;
    size_t first;  // of its numbers in the result
  };
  std::shared_ptr<DeviceNetwork> network_;
  std::vector<uint64_t> vectors_;
  Device::Memory result_;
  std::vector<Place> places_;
  size_t numbers_ = 0;
  std::vector<double> sums_;
};

}  // namespace stockpot

#pragma once
#include "device_network.h"
#include "device_pass.h"
#include "merge_job.h"

namespace stockpot {

// Means of ingredients, computed on a device straight into a network's weights there, rounded to
// the segments' types first, as the soup on disk would be. Where the device meets NaN, infinity or
// overflow, the processor goes through the inputs again and finds out where.
class DeviceMixJob : public DevicePass {
 public:
  // weights: the network's weight that each segment is. Segments are means.
  DeviceMixJob(std::shared_ptr<DeviceNetwork> network, std::vector<int32_t> weights,
               MergePlan plan);

  const std::vector<Finding>& findings() const { return findings_; }  // after run()

 protected:
  void begin(size_t pieces) override;
  uint64_t scratch_of(const Piece& piece) const override;
  void start(const std::vector<Piece>& pieces, std::vector<Device::Plan>* plans) override;
  void finish() override;
  void afterwards() override;
  void stop_others() override;

 private:
  static DevicePassPlan pass_of(const MergePlan& plan);

  const std::shared_ptr<DeviceNetwork> network_;
  MergePlan merge_;
  std::vector<Device::Network::Weight> places_;  // one a segment
  Device::Memory reports_, scratch_;
  size_t pieces_ = 0, started_ = 0;
  bool doubtful_ = false;
  std::vector<Finding> findings_;
  std::mutex checking_mutex_;
  std::shared_ptr<MergeJob> checking_;
};

}  // namespace stockpot

#pragma once
#include "device_block.h"
#include "device_job.h"

namespace stockpot {

struct DeviceHoldPlan {
  std::vector<int> files;
  std::vector<uint64_t> elements;  // one a source
  std::vector<Source> sources;
  std::deque<View> views;
  std::shared_ptr<DeviceBlock> block;
  std::vector<uint64_t> offsets;  // where each goes
  uint32_t threads = 1;
  uint64_t memory = 0;
};

// Reads tensors into a block of a device, each to its place.
class DeviceHoldJob : public DeviceJob {
 public:
  explicit DeviceHoldJob(DeviceHoldPlan plan)
      : DeviceJob(plan.block->device, plan_.files, plan.threads, plan.memory),
        plan_(std::move(plan)) {}

 protected:
  void execute() override {
    std::vector<Upload> parts;
    for (size_t i = 0; i < plan_.sources.size(); ++i) {
      if (plan_.sources[i].file < 0) continue;
      parts.push_back({&plan_.sources[i], static_cast<uint32_t>(i), 0, plan_.elements[i],
                       plan_.block->memory.address() + plan_.offsets[i]});
    }
    upload(parts);
    // Whatever runs on another stream afterwards finds them there.
    Device::Event copied(device());
    copied.record(STOCKPOT_COPY_IN);
    copied.wait();
  }

 private:
  DeviceHoldPlan plan_;
};

}  // namespace stockpot

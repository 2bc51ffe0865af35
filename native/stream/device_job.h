#pragma once
#include <deque>
#include <memory>
#include <vector>

#include "../backend/device.h"
#include "job.h"
#include "source.h"
#include "upload_ring.h"

namespace stockpot {

// A job on a device. `error` is set where the device fails.
class DeviceJob : public Job {
 public:
  ~DeviceJob() override;

 protected:
  // A part of a tensor on its way to the device.
  struct Upload {
    const Source* source;
    uint32_t segment;  // for messages
    uint64_t first, count;
    uint64_t to;
  };

  // memory: bytes of pinned buffers. `files` must outlive the job.
  DeviceJob(std::shared_ptr<Device> device, const std::vector<int>& files, uint32_t threads,
            uint64_t memory);

  void work() final;
  void wake() final;
  virtual void execute() = 0;
  // When execute() is over and its threads are free again.
  virtual void afterwards() {}
  // What else must end when the job is to stop; may be called from any thread.
  virtual void stop_others() {}

  // Reads these on several threads and starts their copies on STOCKPOT_COPY_IN. False where the job
  // stops.
  bool upload(const std::vector<Upload>& parts);
  Device& device() { return *device_; }

 private:
  const std::shared_ptr<Device> device_;
  const std::vector<int>& files_;
  uint32_t threads_;
  const uint64_t memory_;
  std::mutex ring_mutex_;  // ring_ itself: wake() comes from any thread
  std::unique_ptr<UploadRing<Device>> ring_;
};

}  // namespace stockpot

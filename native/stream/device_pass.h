#pragma once
#include "device_job.h"

namespace stockpot {

struct DevicePassPlan {
  std::vector<int> files;
  uint32_t k = 0;
  std::vector<uint64_t> elements;  // one a segment
  std::vector<Source> sources;     // segments × k
  std::deque<View> views;          // what Source::view points to
  std::shared_ptr<void> held;      // what Source::held or Source::resident points into
  uint32_t threads = 1;
  uint64_t memory = 0;  // bytes of pinned buffers
};

// One pass over the k inputs of each segment on a device. Inputs that lie there already are used
// where they are; others come through one of two staging areas, the next of which is filled while
// the device works on the other. Segments are cut into pieces of a fixed size, whatever lies where.
class DevicePass : public DeviceJob {
 protected:
  struct Piece {
    uint32_t segment;
    uint64_t first, count;               // elements
    std::vector<stockpot_input> inputs;  // of those that take part
    std::vector<uint32_t> positions;     // which of the k they are
  };

  DevicePass(std::shared_ptr<Device> device, DevicePassPlan plan)
      : DeviceJob(std::move(device), plan_.files, plan.threads, plan.memory),
        plan_(std::move(plan)) {}

  void execute() final;
  // Before the first piece; `pieces` of them will come.
  virtual void begin(size_t pieces) = 0;
  // Bytes that a piece takes beside its inputs, of those started together.
  virtual uint64_t scratch_of(const Piece& piece) const = 0;
  // Puts the work for these pieces, the next in order, on STOCKPOT_COMPUTE, by plans that are kept
  // until it has passed.
  virtual void start(const std::vector<Piece>& pieces, std::vector<Device::Plan>* plans) = 0;
  // When all has passed.
  virtual void finish() = 0;

  DevicePassPlan plan_;

  static constexpr uint64_t kPiece = 1 << 18;          // elements
  static constexpr uint64_t kMostScratch = 256 << 20;  // bytes of pieces started together

 private:
  uint64_t upload_bytes(const Piece& piece) const;
};

}  // namespace stockpot

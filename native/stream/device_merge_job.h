#pragma once
#include <memory>

#include "../backend/backend.h"
#include "merge_job.h"

namespace stockpot {

// A MergeJob whose means are computed on a device: the same chunks, outputs, hashes and findings.
//
// Readers fill pinned buffers (upload_ring.h) with the inputs of a chunk, side by side as the
// device needs them, and start their copies. Whoever starts a chunk's last copy starts its mean
// behind it, and the copy of the result behind that; the writer waits for that copy. So reading,
// copying in, computing, copying out and writing overlap, each with another chunk. Tensors that are
// not averaged are done by the readers. A chunk in which the device met NaN, infinity or overflow
// is computed again by the processor, which finds out where.
class DeviceMergeJob : public MergeJob {
 public:
  // Segments must not be Op::kCompare.
  DeviceMergeJob(MergePlan plan, const stockpot_backend* backend, uint32_t device);
  ~DeviceMergeJob() override;

 protected:
  void work() override;
  void wake() override;
  void choose_sizes() override;
  uint64_t buffer_bytes() const override;
  void prepare() override;
  void compute(uint32_t index) override;
  bool complete(size_t chunk, Slot& slot) override;

 private:
  struct Pipeline;
  struct Tile;
  struct Task;

  bool take_task(Task* task);
  void lay_out(size_t chunk, Tile* tile);
  void upload(Worker& w, const Task& task);
  bool read_part(Worker& w, const Tile& tile, uint64_t begin, uint64_t end, uint8_t* to);
  void task_done(Tile* tile);
  void launch(Tile* tile);

  const stockpot_backend* backend_;
  const uint32_t device_;
  std::mutex pipeline_mutex_;  // pipeline_ itself: wake() comes from any thread
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace stockpot

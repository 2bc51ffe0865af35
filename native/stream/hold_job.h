#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "held_block.h"
#include "job.h"
#include "source.h"

namespace stockpot {

struct HoldPlan {
  std::vector<int> files;
  std::vector<Source> sources;
  std::vector<uint64_t> elements;  // one a source
  std::vector<uint64_t> offsets;   // where each source goes, in bytes from the block's start
  std::deque<View> views;
  std::shared_ptr<HeldBlock> block;
  uint32_t threads = 1;
};

// Reads tensors into memory, as they are stored.
class HoldJob : public Job {
 public:
  explicit HoldJob(HoldPlan plan);

 protected:
  void work() override;

 private:
  struct Piece {
    size_t source;
    uint64_t first, count;
  };
  HoldPlan plan_;
  std::vector<Piece> pieces_;
  std::atomic<size_t> next_{0};
};

}  // namespace stockpot

#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "../kernels/dot.h"
#include "job.h"
#include "source.h"

namespace stockpot {

struct DotPlan {
  std::vector<int> files;
  uint32_t k = 0;
  std::vector<uint64_t> elements;     // one a segment
  std::vector<const float*> vectors;  // one a segment: what its inputs are multiplied with
  std::vector<Source> sources;        // segments × k
  std::deque<View> views;
  std::shared_ptr<void> held;   // what Source::held points into
  std::shared_ptr<void> owner;  // of the vectors
  DotKernel kernel = nullptr;
  uint32_t threads = 1;
};

// The dot product of each segment's vector with each of its k inputs, in one pass over the inputs,
// in float64. Segments are cut into blocks of fixed size whose sums are added in order, so that the
// result does not depend on the threads.
class DotJob : public Job {
 public:
  explicit DotJob(DotPlan plan);

  // After run(): segments × k.
  const std::vector<double>& sums() const { return sums_; }

 protected:
  void work() override;

 private:
  struct Block {
    uint32_t segment;
    uint64_t first;
  };
  void compute(SourceReader& reader, Pages<uint8_t>& buffer, size_t index);

  DotPlan plan_;
  std::vector<Block> blocks_;
  std::vector<double> partial_;  // blocks × k
  std::vector<double> sums_;
  std::atomic<size_t> next_{0};
};

}  // namespace stockpot

#pragma once
#include <condition_variable>
#include <deque>
#include <vector>

#include "../kernels/gram.h"
#include "job.h"
#include "source.h"

namespace stockpot {

// Flat tables, checked by the addon: every index is in range, all types are floating-point.
struct GramPlan {
  std::vector<int> files;
  uint32_t k = 0;  // the first input is the reference
  uint32_t groups = 0;
  std::vector<uint32_t> group;     // of each segment
  std::vector<uint64_t> elements;  // of each segment
  std::vector<Source> sources;     // segments × k; all take part
  std::deque<View> views;
  GramKernel kernel = nullptr;
  uint32_t threads = 1;
  uint64_t memory = 0;
};

// Inner products of k inputs, all pairs, in one pass over their files, in bounded memory: a sum for
// each group of segments (kernels/gram.h says of which vectors).
//
// Segments are cut into chunks of a fixed number of elements. Workers claim chunks in order; each
// reads the inputs in blocks and adds the blocks' products with compensation (Neumaier), and the
// chunks' sums are added to their groups' in the order of the chunks, compensated too. So a result
// depends neither on threads nor on memory, and lies within kGramBlock / kGramLanes + 8 units 2^-53
// of the sum of the products' magnitudes, however many elements there are.
class GramJob : public Job {
 public:
  explicit GramJob(GramPlan plan) : plan_(std::move(plan)) {}

  struct Nonfinite {
    uint32_t segment, input;
    uint64_t count, first;
  };
  // After run(): groups × gram_pairs(k).
  const std::vector<double>& products() const { return products_; }
  // Inputs that hold NaN or infinity, by segment and input.
  std::vector<Nonfinite> nonfinite() const;

 protected:
  void work() override;
  void wake() override;

 private:
  struct Chunk {
    uint32_t segment;
    uint64_t first, count;
  };
  // A sum and its compensation.
  struct Sums {
    explicit Sums(size_t n) : high(n, 0.0), low(n, 0.0) {}
    std::vector<double> high, low;
    void add(size_t at, double value);
    void clear();
  };
  struct Worker;

  void compute();
  bool compute_chunk(Worker& w, const Chunk& chunk, Sums* out);
  void look_for_nonfinite(Worker& w, uint32_t segment, uint64_t first, size_t n);
  void hand_in(size_t index, const Sums& sums);
  void prefetch(uint32_t first_input);

  GramPlan plan_;
  size_t pairs_ = 0, read_elements_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<Sums> totals_;  // one a group
  std::vector<double> products_;
  std::mutex mutex_;  // all below
  std::condition_variable changed_;
  size_t next_chunk_ = 0, handed_in_ = 0;
  bool cold_ = false, done_ = false;  // a read has had to wait for the disk; the workers are done
  std::vector<Nonfinite> nonfinite_;
};

}  // namespace stockpot

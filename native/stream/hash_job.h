#pragma once
#include <deque>
#include <string>
#include <vector>

#include "job.h"
#include "source.h"

namespace stockpot {

// SHA-256 of the elements of many tensors (or of whole files, as tensors of bytes), each in
// row-major order.
struct HashPlan {
  std::vector<int> files;
  std::vector<Source> sources;
  std::vector<uint64_t> elements;  // one a source
  std::deque<View> views;
  uint32_t threads = 1;
};

class HashJob : public Job {
 public:
  explicit HashJob(HashPlan plan) : plan_(std::move(plan)) {}
  const std::vector<std::string>& hashes() const { return hashes_; }  // one a source, after run()

 protected:
  void work() override;

 private:
  void hash_one(SourceReader& reader, Pages<uint8_t>& buffer, size_t index);

  HashPlan plan_;
  std::vector<std::string> hashes_;
  std::atomic<size_t> next_{0};
};

}  // namespace stockpot

#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "job.h"

namespace stockpot {

// Asks the system for files that will be read soon, in small steps, so that it can be stopped at
// any of them. It reads nothing itself: where the guess was wrong, only the page cache knows.
class ReadAheadJob : public Job {
 public:
  struct File {
    int fd;
    uint64_t bytes;  // from the front
  };
  explicit ReadAheadJob(std::vector<File> files) : files_(std::move(files)) {}

 protected:
  void work() override;

 private:
  std::vector<File> files_;
};

}  // namespace stockpot

#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "../hash/sha256.h"

namespace stockpot {

// SHA-256 of input files while they are merged. Several workers read a file's blocks at once, but a
// hash must see them in order: each block waits for its turn, file by file, so that workers follow
// each other through the files like a convoy, and as many files are hashed at the same time as
// there are workers.
class InputHashes {
 public:
  explicit InputHashes(size_t files) : files_(files) {}

  void start(size_t file) { files_[file].active = true; }
  bool active(size_t file) const { return files_[file].active; }

  // Feeds the bytes at `offset`, once all before them were fed. Gives up when `stop` becomes true
  // (call wake() then).
  void feed(size_t file, uint64_t offset, const void* data, size_t bytes,
            const std::function<bool()>& stop);
  void wake();

  // Hex digest of a file that was started; "" for the others.
  std::string hex(size_t file) const;

 private:
  struct File {
    bool active = false;
    uint64_t position = 0;
    Sha256 hash;
  };
  std::mutex mutex_;
  std::condition_variable turn_;
  std::vector<File> files_;
};

}  // namespace stockpot

#include "input_hashes.h"

namespace stockpot {

void InputHashes::feed(size_t file, uint64_t offset, const void* data, size_t bytes,
                       const std::function<bool()>& stop) {
  File& f = files_[file];
  {
    std::unique_lock<std::mutex> lock(mutex_);
    turn_.wait(lock, [&] { return f.position == offset || stop(); });
    if (f.position != offset) return;
  }
  f.hash.update(data, bytes);  // nobody else's turn comes before the position moves on
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    f.position = offset + bytes;
  }
  turn_.notify_all();
}

void InputHashes::wake() {
  const std::lock_guard<std::mutex> lock(mutex_);
  turn_.notify_all();
}

std::string InputHashes::hex(size_t file) const {
  return files_[file].active ? files_[file].hash.hex() : "";
}

}  // namespace stockpot

#include "read_ahead_job.h"

#include <algorithm>

#include "file.h"

namespace stockpot {
namespace {
// Linux reads no more of a range at a time than the device's read-ahead, often 128 KiB.
constexpr uint64_t kStep = 128 << 10;
}  // namespace

// Takes no thread of the budget: it waits for the disk, where it does not return at once.
void ReadAheadJob::work() {
  for (const File& f : files_) {
    for (uint64_t at = 0; at < f.bytes; at += kStep) {
      if (stopping()) return;
      const uint64_t n = std::min(kStep, f.bytes - at);
      will_need(f.fd, at, n);
      bytes_read.fetch_add(n, std::memory_order_relaxed);
    }
  }
}

}  // namespace stockpot

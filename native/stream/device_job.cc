#include "device_job.h"

#include <algorithm>
#include <atomic>

#include "budget.h"
#include "file.h"

namespace stockpot {
namespace {

constexpr uint64_t kLeastSlot = 64 << 10;
constexpr uint64_t kLargestSlot = 16 << 20;

}  // namespace

DeviceJob::DeviceJob(std::shared_ptr<Device> device, const std::vector<int>& files,
                     uint32_t threads, uint64_t memory)
    : device_(std::move(device)), files_(files), threads_(threads), memory_(memory) {}
DeviceJob::~DeviceJob() = default;

void DeviceJob::wake() {
  {
    const std::lock_guard<std::mutex> lock(ring_mutex_);
    if (ring_) ring_->wake();
  }
  stop_others();
}

void DeviceJob::work() {
  {
    const auto lease = ThreadBudget::process().take(threads_, [this] { return stopping(); });
    if (lease.threads() == 0) return;
    threads_ = lease.threads();
    try {
      execute();
    } catch (const DeviceError& e) {
      fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
    }
    std::unique_ptr<UploadRing<Device>> ring;  // waits for its copies, not under the lock
    const std::lock_guard<std::mutex> lock(ring_mutex_);
    ring = std::move(ring_);
  }
  if (!stopping()) afterwards();
}

bool DeviceJob::upload(const std::vector<Upload>& parts) {
  if (parts.empty()) return !stopping();
  if (!ring_) {
    while (threads_ > 1 && memory_ / (threads_ + 2) < kLeastSlot) --threads_;
    const uint64_t slot = std::min(std::max(memory_ / (threads_ + 2), kLeastSlot), kLargestSlot);
    auto ring =
        std::make_unique<UploadRing<Device>>(*device_, STOCKPOT_COPY_IN, threads_ + 2, slot);
    const std::lock_guard<std::mutex> lock(ring_mutex_);
    ring_ = std::move(ring);
  }
  // Parts in pieces of a slot.
  struct Task {
    const Upload* part;
    uint64_t first, count;  // of the part
  };
  std::vector<Task> tasks;
  for (const Upload& part : parts) {
    const uint64_t at_once = ring_->slot_bytes() / byte_size(part.source->dtype);
    for (uint64_t first = 0; first < part.count; first += at_once)
      tasks.push_back({&part, first, std::min(at_once, part.count - first)});
  }
  std::atomic<size_t> next{0};
  parallel(threads_, [&](uint32_t) {
    SourceReader reader(files_);
    try {
      for (size_t i; (i = next.fetch_add(1)) < tasks.size();) {
        const Task& task = tasks[i];
        const Source& source = *task.part->source;
        const size_t item = byte_size(source.dtype);
        auto* slot = ring_->take([this] { return stopping(); });
        if (!slot) return;
        const int error =
            reader.read(source, task.part->first + task.first, task.count, slot->data());
        if (error) {
          ring_->give_back(slot);
          const bool is_short = error == kShortRead;
          return fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead,
                       is_short ? 0 : error, source.file, static_cast<int64_t>(task.part->segment),
                       -1, "read"});
        }
        if (!source.held) bytes_read.fetch_add(task.count * item, std::memory_order_relaxed);
        ring_->submit(slot, task.part->to + task.first * item, task.count * item, [] {});
      }
    } catch (const DeviceError& e) {
      fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
    }
  });
  return !stopping();
}

}  // namespace stockpot

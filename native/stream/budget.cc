#include "budget.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace stockpot {

ThreadBudget& ThreadBudget::process() {
  // Never destroyed: jobs of worker threads may outlive the main thread's static destructors.
  static ThreadBudget* budget =
      new ThreadBudget(std::max(2u, 2 * std::thread::hardware_concurrency()));
  return *budget;
}

ThreadBudget::Lease ThreadBudget::take(uint32_t wanted, const std::function<bool()>& stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (free_ == 0) {
    if (stop()) return Lease(this, 0);
    freed_.wait_for(lock, std::chrono::milliseconds(20));
  }
  const uint32_t given = std::min(free_, std::max(1u, wanted));
  free_ -= given;
  return Lease(this, given);
}

ThreadBudget::Lease::~Lease() {
  {
    const std::lock_guard<std::mutex> lock(budget_->mutex_);
    budget_->free_ += threads_;
  }
  budget_->freed_.notify_all();
}

MemoryBudget& MemoryBudget::buffers() {
  static MemoryBudget* budget = new MemoryBudget();  // never destroyed, as above
  return *budget;
}

MemoryBudget& MemoryBudget::networks() {
  static MemoryBudget* budget = new MemoryBudget();
  return *budget;
}

MemoryBudget::Lease& MemoryBudget::Lease::operator=(Lease&& other) noexcept {
  if (this == &other) return *this;
  release();
  budget_ = std::exchange(other.budget_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  limit_ = other.limit_;
  return *this;
}

void MemoryBudget::Lease::release() {
  if (!budget_) return;
  {
    const std::lock_guard<std::mutex> lock(budget_->mutex_);
    budget_->held_ -= bytes_;
    budget_->limits_.erase(budget_->limits_.find(limit_));
  }
  budget_->freed_.notify_all();
  budget_ = nullptr;
  bytes_ = 0;
}

uint64_t MemoryBudget::left_locked(uint64_t limit) const {
  const uint64_t all = limits_.empty() ? limit : std::max(limit, *limits_.rbegin());
  return std::min(limit, all - std::min(all, held_));
}

uint64_t MemoryBudget::held() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return held_;
}

uint64_t MemoryBudget::left(uint64_t limit) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return left_locked(limit);
}

MemoryBudget::Lease MemoryBudget::take(uint64_t wanted, uint64_t least, uint64_t limit,
                                       const std::function<bool()>& stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  limits_.insert(limit);
  while (left_locked(limit) < least && held_ > 0) {
    if (stop()) {
      limits_.erase(limits_.find(limit));
      return Lease();
    }
    freed_.wait_for(lock, std::chrono::milliseconds(20));
  }
  // Who is alone gets its least, whatever its limit.
  const uint64_t given = std::max(least, std::min(wanted, left_locked(limit)));
  held_ += given;
  return Lease(this, given, limit);
}

MemoryBudget::Lease MemoryBudget::take_now(uint64_t wanted, uint64_t limit) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (left_locked(limit) < wanted) return Lease();
  limits_.insert(limit);
  held_ += wanted;
  return Lease(this, wanted, limit);
}

}  // namespace stockpot

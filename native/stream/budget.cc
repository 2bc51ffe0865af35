#include "budget.h"

#include <algorithm>
#include <chrono>
#include <thread>

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

}  // namespace stockpot

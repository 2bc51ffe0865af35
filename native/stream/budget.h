#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace stockpot {

// Threads that all jobs of the process share. A job takes what it wants, or what is left, and waits
// while nothing is.
class ThreadBudget {
 public:
  static ThreadBudget& process();

  class Lease {
   public:
    Lease(ThreadBudget* budget, uint32_t threads) : budget_(budget), threads_(threads) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease();
    uint32_t threads() const { return threads_; }  // 0: given up because `stop` became true

   private:
    ThreadBudget* budget_;
    uint32_t threads_;
  };

  Lease take(uint32_t wanted, const std::function<bool()>& stop);

 private:
  explicit ThreadBudget(uint32_t threads) : free_(threads) {}
  std::mutex mutex_;
  std::condition_variable freed_;
  uint32_t free_;
};

}  // namespace stockpot

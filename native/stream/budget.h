#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>

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

// Bytes that all jobs of the process share likewise. Each says how many there are as far as it is
// concerned, its limit; together they hold no more than the largest limit among them.
class MemoryBudget {
 public:
  static MemoryBudget& buffers();   // of jobs, while they run
  static MemoryBudget& networks();  // weights and activations, while the network is there

  class Lease {
   public:
    Lease() = default;
    Lease(MemoryBudget* budget, uint64_t bytes, uint64_t limit)
        : budget_(budget), bytes_(bytes), limit_(limit) {}
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { release(); }
    void release();
    uint64_t bytes() const { return bytes_; }  // 0: none

   private:
    MemoryBudget* budget_ = nullptr;
    uint64_t bytes_ = 0, limit_ = 0;
  };

  // `wanted` bytes, or as many as are left, but `least` of them: waits while there are fewer. A
  // lease of 0 where `stop` became true.
  Lease take(uint64_t wanted, uint64_t least, uint64_t limit, const std::function<bool()>& stop);
  // All of `wanted`, or a lease of 0.
  Lease take_now(uint64_t wanted, uint64_t limit);
  uint64_t held();
  // How many are left for one with this limit.
  uint64_t left(uint64_t limit);

 private:
  uint64_t left_locked(uint64_t limit) const;
  std::mutex mutex_;
  std::condition_variable freed_;
  uint64_t held_ = 0;
  std::multiset<uint64_t> limits_;  // of those that hold some, or wait
};

}  // namespace stockpot

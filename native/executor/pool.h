#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace stockpot {

// Threads that stay between pieces of work. One caller at a time.
class Pool {
 public:
  // The calling thread is one of them. Throws std::system_error where not even one more thread can
  // be had and more than one was asked for; with fewer than asked for it goes on.
  explicit Pool(uint32_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  uint32_t threads() const { return static_cast<uint32_t>(others_.size()) + 1; }

  // Calls task(i, thread) for each i in [0, count), in any order, and returns when all are done.
  // Tasks must not throw.
  void each(size_t count, const std::function<void(size_t, uint32_t)>& task);

 private:
  void serve(uint32_t thread);
  void take(uint32_t thread);

  std::vector<std::thread> others_;
  std::mutex mutex_;
  std::condition_variable start_, finished_;
  const std::function<void(size_t, uint32_t)>* task_ = nullptr;
  size_t count_ = 0;
  std::atomic<size_t> next_{0};
  uint64_t round_ = 0;
  uint32_t working_ = 0;
  bool stop_ = false;
};

}  // namespace stockpot

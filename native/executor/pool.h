#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace stockpot {

// Threads that stay between pieces of work. One caller at a time. A thread that has nothing to do
// looks for work for some microseconds before it sleeps: the pieces of a pass follow each other
// faster than the system wakes a thread.
class Pool {
 public:
  // The calling thread is one of them. With fewer threads than asked for, where the system gives no
  // more, it goes on.
  explicit Pool(uint32_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  uint32_t threads() const { return static_cast<uint32_t>(others_.size()) + 1; }

  // Calls task(i, thread) for each i in [0, count), in any order, and returns when all are done.
  // Tasks must not throw. Nothing is allocated.
  template <class Task>
  void each(size_t count, const Task& task) {
    run(count, &task, [](const void* t, size_t i, uint32_t thread) {
      (*static_cast<const Task*>(t))(i, thread);
    });
  }

 private:
  using Call = void (*)(const void* task, size_t i, uint32_t thread);
  void run(size_t count, const void* task, Call call);
  void serve(uint32_t thread);
  void take(uint32_t thread);

  std::vector<std::thread> others_;
  std::mutex mutex_;
  std::condition_variable start_, finished_;
  const void* task_ = nullptr;
  Call call_ = nullptr;
  size_t count_ = 0;
  std::atomic<size_t> next_{0};
  std::atomic<uint64_t> round_{0};
  std::atomic<uint32_t> working_{0};
  uint32_t sleeping_ = 0;
  bool stop_ = false;
};

}  // namespace stockpot

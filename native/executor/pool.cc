#include "pool.h"

#include <system_error>

#include "../stream/job.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace stockpot {
namespace {

constexpr int kLooks = 2000;  // some tens of microseconds

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether it becomes true within a short time.
template <class Condition>
bool soon(const Condition& condition) {
  for (int i = 0; i < kLooks; ++i) {
    if (condition()) return true;
    pause();
  }
  return false;
}

}  // namespace

Pool::Pool(uint32_t threads) {
  for (uint32_t i = 1; i < threads; ++i) {
    try {
      others_.emplace_back([this, i] { serve(i); });
    } catch (const std::system_error&) {
      break;  // the ones there are do the work
    }
  }
}

Pool::~Pool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& t : others_) t.join();
}

void Pool::run(size_t count, const void* task, Call call) {
  task_ = task;
  call_ = call;
  count_ = count;
  next_ = 0;
  if (count <= 1 || others_.empty()) return take(0);
  working_ = static_cast<uint32_t>(others_.size());
  bool wake;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    round_.fetch_add(1, std::memory_order_release);
    wake = sleeping_ > 0;
  }
  if (wake) start_.notify_all();
  take(0);
  const auto done = [this] { return working_.load(std::memory_order_acquire) == 0; };
  if (soon(done)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  finished_.wait(lock, done);
}

void Pool::take(uint32_t thread) {
  for (size_t i; (i = next_.fetch_add(1)) < count_;) call_(task_, i, thread);
}

void Pool::serve(uint32_t thread) {
  set_default_floating_point();
  uint64_t seen = 0;
  const auto more = [&] { return round_.load(std::memory_order_acquire) != seen; };
  for (;;) {
    if (!soon(more)) {
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleeping_;
      start_.wait(lock, [&] { return stop_ || more(); });
      --sleeping_;
      if (stop_) return;
    }
    seen = round_.load(std::memory_order_acquire);
    take(thread);
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::lock_guard<std::mutex> lock(mutex_);
      finished_.notify_one();
    }
  }
}

}  // namespace stockpot

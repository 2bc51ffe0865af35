#include "pool.h"

#include <system_error>

#include "../stream/job.h"

namespace stockpot {

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
  if (count > 1 && !others_.empty()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++round_;
      working_ = static_cast<uint32_t>(others_.size());
    }
    start_.notify_all();
    take(0);
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [this] { return working_ == 0; });
  } else {
    take(0);
  }
}

void Pool::take(uint32_t thread) {
  for (size_t i; (i = next_.fetch_add(1)) < count_;) call_(task_, i, thread);
}

void Pool::serve(uint32_t thread) {
  set_default_floating_point();
  uint64_t seen = 0;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      start_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) return;
      seen = round_;
    }
    take(thread);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--working_ == 0) finished_.notify_one();
  }
}

}  // namespace stockpot

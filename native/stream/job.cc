#include "job.h"

#include <cfenv>
#include <new>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace stockpot {

void set_default_floating_point() {
  std::fesetenv(FE_DFL_ENV);
#if defined(__x86_64__)
  _mm_setcsr(0x1F80);  // all exceptions masked, round to nearest, neither flush-to-zero nor
                       // denormals-are-zero
#endif
}

void Job::run() {
  set_default_floating_point();
  try {
    if (!stopping()) work();
  } catch (const std::bad_alloc&) {
    fail({JobError::Kind::kMemory, 0, -1, -1, -1, "out of memory"});
  } catch (const std::exception& e) {
    fail({JobError::Kind::kInternal, 0, -1, -1, -1, e.what()});
  }
}

void Job::abort() { fail({JobError::Kind::kAborted, 0, -1, -1, -1, "aborted"}); }

void Job::fail(JobError error) {
  {
    const std::lock_guard<std::mutex> lock(error_mutex_);
    if (error_.kind == JobError::Kind::kNone) error_ = std::move(error);
  }
  stopping_.store(true);
  wake();
}

void Job::parallel(uint32_t threads, const std::function<void(uint32_t)>& body) {
  const auto guarded = [this, &body](uint32_t index) {
    set_default_floating_point();
    try {
      body(index);
    } catch (const std::bad_alloc&) {
      fail({JobError::Kind::kMemory, 0, -1, -1, -1, "out of memory"});
    } catch (const std::exception& e) {
      fail({JobError::Kind::kInternal, 0, -1, -1, -1, e.what()});
    }
  };
  std::vector<std::thread> others;
  for (uint32_t i = 1; i < threads; ++i) {
    try {
      others.emplace_back(guarded, i);
    } catch (const std::system_error&) {
      // Fewer threads do the same work, but those that wait for each other need at least two.
      if (others.empty())
        fail({JobError::Kind::kInternal, 0, -1, -1, -1, "the system gives no more threads"});
      break;
    }
  }
  guarded(0);
  for (std::thread& t : others) t.join();
}

}  // namespace stockpot

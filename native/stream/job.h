#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace stockpot {

// What made a job end early. Indexes are -1 where they do not apply.
struct JobError {
  enum class Kind {
    kNone,
    kRead,
    kShortRead,
    kWrite,
    kAborted,
    kMemory,
    kInput,  // the data given to a network
    kDevice,
    kInternal
  } kind = Kind::kNone;
  int error_number = 0;
  int64_t file = -1;     // position in the job's table of input files
  int64_t segment = -1;  // position in the job's table of segments
  int64_t output = -1;
  std::string what;
};

// A long piece of work with its own threads. `run` is called once, on a thread of its own;
// everything else may be called from any thread at any time.
class Job {
 public:
  virtual ~Job() = default;

  // Works until done, failed or aborted. Throws nothing.
  void run();

  void abort();
  const JobError& error() const { return error_; }  // after run()

  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> bytes_written{0};

 protected:
  virtual void work() = 0;
  virtual void wake() {}  // wakes all threads of the job that wait, after stopping_ was set

  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }
  // Keeps the first error and stops the job.
  void fail(JobError error);
  // Runs `body` on `threads` threads, the calling one included; an exception becomes the job's
  // error.
  void parallel(uint32_t threads, const std::function<void(uint32_t)>& body);

 private:
  std::atomic<bool> stopping_{false};
  std::mutex error_mutex_;
  JobError error_;
};

// Arithmetic is defined with round-to-nearest and subnormals kept, whatever the thread that started
// us had set.
void set_default_floating_point();

}  // namespace stockpot

// Jobs and pools that run at once and are aborted from other threads: what they compute is right or
// not there. With ThreadSanitizer (scripts/sanitize.sh) this shows races.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "../../native/executor/pool.h"
#include "../../native/kernels/dispatch.h"
#include "../../native/stream/gram_job.h"
#include "../../native/stream/hash_job.h"
#include "../../native/stream/merge_job.h"

using namespace stockpot;

namespace {

constexpr uint64_t kElements = 30'000;
constexpr uint32_t kInputs = 3;

void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "stream_test: %s\n", what);
  std::exit(1);
}

class TemporaryFile {
 public:
  TemporaryFile() : file_(std::tmpfile()) { require(file_, "no temporary file"); }
  ~TemporaryFile() { std::fclose(file_); }
  int fd() const { return fileno(file_); }

 private:
  std::FILE* file_;
};

// Input i holds i + 1 everywhere, so the mean of three is 2.
struct Inputs {
  TemporaryFile files[kInputs];
  std::vector<int> fds;
  Inputs() {
    for (uint32_t i = 0; i < kInputs; ++i) {
      const std::vector<float> values(kElements, static_cast<float>(i + 1));
      const auto bytes = static_cast<ssize_t>(kElements * sizeof(float));
      require(write(files[i].fd(), values.data(), kElements * sizeof(float)) == bytes, "write");
      fds.push_back(files[i].fd());
    }
  }
};

template <class Start>
bool run_with_abort(Job& job, bool abort, const Start& started) {
  std::thread other([&] {
    started();
    if (abort) job.abort();
  });
  job.run();
  other.join();
  const JobError::Kind kind = job.error().kind;
  require(kind == JobError::Kind::kNone || (abort && kind == JobError::Kind::kAborted),
          "a job failed");
  return kind == JobError::Kind::kNone;
}

void merge(const Inputs& inputs, bool abort, int delay) {
  TemporaryFile out;
  MergePlan plan;
  plan.files = inputs.fds;
  plan.k = kInputs;
  plan.threads = 3;
  plan.memory = 1 << 20;
  plan.chunk_bytes = 1 << 12;
  plan.sink = SinkKind::kPipe;
  plan.outputs.push_back({out.fd(), {}, 0});
  plan.hash_prefix.assign(kInputs, 0);
  size_t count;
  plan.kernel = mean_variants(&count)[0].kernel;
  plan.segments.push_back({Op::kMean, DType::kF32, kElements, 0, -1});
  for (uint32_t i = 0; i < kInputs; ++i) {
    Source s;
    s.file = static_cast<int32_t>(i);
    plan.sources.push_back(s);
  }
  MergeJob job(std::move(plan));
  const auto wait = [&] {
    for (int i = 0; i < delay; ++i) std::this_thread::yield();
    job.bytes_read.load();  // as progress() does
  };
  if (!run_with_abort(job, abort, wait)) return;
  std::vector<float> found(kElements);
  const auto bytes = static_cast<ssize_t>(kElements * sizeof(float));
  require(pread(out.fd(), found.data(), kElements * sizeof(float), 0) == bytes, "output's length");
  for (float f : found) require(f == 2, "a mean");
  require(job.findings().empty(), "findings");
  require(job.input_hashes()[0].size() == 64, "an input's hash");
}

void gram(const Inputs& inputs, bool abort, int delay) {
  GramPlan plan;
  plan.files = inputs.fds;
  plan.k = kInputs;
  plan.groups = 1;
  plan.threads = 3;
  plan.memory = 1 << 20;
  size_t count;
  plan.kernel = gram_variants(&count)[0].kernel;
  plan.group = {0};
  plan.elements = {kElements};
  for (uint32_t i = 0; i < kInputs; ++i) {
    Source s;
    s.file = static_cast<int32_t>(i);
    plan.sources.push_back(s);
  }
  GramJob job(std::move(plan));
  run_with_abort(job, abort, [&] {
    for (int i = 0; i < delay; ++i) std::this_thread::yield();
  });
}

void hash(const Inputs& inputs, bool abort) {
  HashPlan plan;
  plan.files = inputs.fds;
  plan.threads = 2;
  for (uint32_t i = 0; i < kInputs; ++i) {
    Source s;
    s.file = static_cast<int32_t>(i);
    plan.sources.push_back(s);
    plan.elements.push_back(kElements);
  }
  HashJob job(std::move(plan));
  if (run_with_abort(job, abort, [] {})) require(job.hashes().size() == kInputs, "hashes");
}

// A tensor without elements has no bytes to be compared, and none in memory
// (UndefinedBehaviorSanitizer sees a null pointer where they are).
void compare_nothing(const Inputs& inputs) {
  TemporaryFile out;
  MergePlan plan;
  plan.files = {inputs.fds[0]};
  plan.k = 1;
  plan.threads = 2;
  plan.memory = 1 << 20;
  plan.sink = SinkKind::kCompare;
  plan.outputs.push_back({out.fd(), {}, 0});
  plan.hash_prefix.assign(1, -1);
  size_t count;
  plan.kernel = mean_variants(&count)[0].kernel;
  plan.segments.push_back({Op::kMean, DType::kF32, 0, 0, -1});
  Source s;
  s.file = 0;
  plan.sources.push_back(s);
  MergeJob job(std::move(plan));
  require(run_with_abort(job, false, [] {}) && job.findings().empty(), "nothing to compare");
}

void jobs() {
  const Inputs inputs;
  compare_nothing(inputs);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&inputs, t] {
      for (int round = 0; round < 30; ++round) {
        const bool abort = (round + t) % 3 == 0;
        merge(inputs, abort, round * 4);
        gram(inputs, abort, round * 4);
        hash(inputs, abort);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

void pools() {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([] {
      Pool pool(3);
      std::vector<uint64_t> sums(pool.threads() * 16);
      std::vector<uint32_t> done(100);
      for (uint32_t round = 0; round < 300; ++round) {
        // A place a task and a place a thread need no lock: run() orders one round before the next.
        pool.each(done.size(), [&](size_t i, uint32_t thread) {
          done[i] += 1;
          sums[thread * 16] += i;
        });
        require(done[round % done.size()] == round + 1, "a task");
      }
      uint64_t sum = 0;
      for (uint64_t s : sums) sum += s;
      require(sum == uint64_t{300} * 99 * 100 / 2, "the tasks' sum");
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace

int main() {
  jobs();
  pools();
  std::puts("stream_test: jobs and pools");
}

// A backend whose device is the host: memory is host memory, and a thread a stream runs copies and
// plans of means in order and a little late, as a GPU does. For tests of streaming, and of what
// happens where a device fails; what a device computes is tested on the emulated one
// (test/emulator).
//
// What it pretends, from the environment variable STOCKPOT_TEST_BACKEND: nothing (one device), or
// crash, hang, no-driver, old-driver, no-device, no-matmul, old-version, old-device, no-memory,
// fail-copy.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "host_run.h"

namespace {

bool pretends(const char* what) {
  const char* set = std::getenv("STOCKPOT_TEST_BACKEND");
  return set && std::strcmp(set, what) == 0;
}

int refuse(uint32_t status, const char* why, stockpot_failure* failure) {
  std::memset(failure, 0, sizeof(*failure));
  failure->status = status;
  std::snprintf(failure->message, sizeof(failure->message), "%s", why);
  return static_cast<int>(status);
}

class Stream {
 public:
  explicit Stream(unsigned seed) : random_(seed), thread_([this] { work(); }) {}
  ~Stream() {
    put({});
    thread_.join();
  }
  void put(std::function<void()> task) {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_all();
  }
  void drain() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return tasks_.empty(); });
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return !tasks_.empty(); });
        task = tasks_.front();
      }
      if (!task) return;
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 200));
      task();
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.pop_front();
      changed_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::minstd_rand random_;
  std::thread thread_;
};

}  // namespace

struct stockpot_context {
  Stream streams[3] = {Stream(1), Stream(2), Stream(3)};
};

struct stockpot_event {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0, passed = 0;
  std::chrono::steady_clock::time_point when;
};

struct stockpot_plan {
  stockpot::cuda::HostPlan host;
};

namespace {

using Context = stockpot_context;
using Failure = stockpot_failure;

void probe(stockpot_probe* out) {
  std::memset(out, 0, sizeof(*out));
  if (pretends("crash")) std::abort();
  if (pretends("hang")) std::this_thread::sleep_for(std::chrono::hours(1));
  const auto say = [out](uint32_t status, const char* why) {
    out->status = status;
    std::snprintf(out->message, sizeof(out->message), "%s", why);
  };
  if (pretends("no-driver")) return say(STOCKPOT_NO_DRIVER, "there is no driver");
  if (pretends("old-driver")) return say(STOCKPOT_OLD_DRIVER, "the driver is too old");
  if (pretends("no-device")) return say(STOCKPOT_NO_DEVICE, "the driver sees no GPU");
  out->device_count = 1;
  out->driver_version = out->runtime_version = 13000;
  out->matmul_version = pretends("no-matmul") ? 0 : 130000;
  if (!out->matmul_version) {
    std::snprintf(out->matmul_message, sizeof(out->matmul_message), "cuBLASLt is not found");
  }
}

int device(uint32_t index, stockpot_device_info* out, Failure* failure) {
  std::memset(out, 0, sizeof(*out));
  if (index) return refuse(STOCKPOT_NO_DEVICE, "there is no such device", failure);
  std::snprintf(out->name, sizeof(out->name), "host");
  out->memory_total = out->memory_free = uint64_t{1} << 30;
  out->major = 9;
  out->multiprocessors = 1;
  if (pretends("old-device")) return refuse(STOCKPOT_OLD_DEVICE, "no code for it", failure);
  out->usable = 1;
  return 0;
}

int open(uint32_t index, Context** out, Failure* failure) {
  if (index) return refuse(STOCKPOT_NO_DEVICE, "there is no such device", failure);
  *out = new Context;
  return 0;
}
int synchronize(Context* c, Failure*) {
  for (Stream& s : c->streams) s.drain();
  return 0;
}
void close(Context* c) { delete c; }
int memory(Context*, uint64_t* free_bytes, uint64_t* total_bytes, Failure*) {
  *free_bytes = *total_bytes = uint64_t{1} << 30;
  return 0;
}

// Memory is filled with a pattern, so that what was not copied is seen.
void* made(uint64_t bytes) {
  void* p = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
  if (p) std::memset(p, 0xA5, bytes);
  return p;
}

int allocate(Context*, uint64_t bytes, uint64_t* address, Failure* failure) {
  void* p = pretends("no-memory") || bytes > uint64_t{1} << 40 ? nullptr : made(bytes);
  if (!p) {
    refuse(STOCKPOT_OUT_OF_MEMORY, "device memory: out of memory", failure);
    failure->bytes_asked = bytes;
    failure->bytes_free = 1000000;
    return STOCKPOT_OUT_OF_MEMORY;
  }
  *address = reinterpret_cast<uint64_t>(p);
  return 0;
}
void release(Context*, uint64_t address) { std::free(reinterpret_cast<void*>(address)); }
int allocate_host(Context*, uint64_t bytes, void** out, Failure*) {
  *out = made(bytes);
  return 0;
}
void release_host(Context*, void* p) { std::free(p); }

int copy_in(Context* c, uint32_t stream, uint64_t to, const void* from, uint64_t bytes,
            Failure* failure) {
  if (pretends("fail-copy")) return refuse(STOCKPOT_FAILED, "copying: it fell off", failure);
  c->streams[stream].put([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
  return 0;
}
int copy_out(Context* c, uint32_t stream, void* to, uint64_t from, uint64_t bytes, Failure*) {
  c->streams[stream].put([=] { std::memcpy(to, reinterpret_cast<const void*>(from), bytes); });
  return 0;
}
int fill_zero(Context* c, uint32_t stream, uint64_t to, uint64_t bytes, Failure*) {
  c->streams[stream].put([=] { std::memset(reinterpret_cast<void*>(to), 0, bytes); });
  return 0;
}

int event_create(Context*, stockpot_event** out, Failure*) {
  *out = new stockpot_event;
  return 0;
}
void event_destroy(Context*, stockpot_event* e) { delete e; }
void wait_for(stockpot_event* e, uint64_t number) {
  std::unique_lock<std::mutex> lock(e->mutex);
  e->changed.wait(lock, [&] { return e->passed >= number; });
}
uint64_t last_of(stockpot_event* e) {
  const std::lock_guard<std::mutex> lock(e->mutex);
  return e->recorded;
}
int event_record(Context* c, stockpot_event* e, uint32_t stream, Failure*) {
  uint64_t number;
  {
    const std::lock_guard<std::mutex> lock(e->mutex);
    number = ++e->recorded;
  }
  c->streams[stream].put([e, number] {
    const std::lock_guard<std::mutex> lock(e->mutex);
    e->passed = number;
    e->when = std::chrono::steady_clock::now();
    e->changed.notify_all();
  });
  return 0;
}
int event_wait(Context*, stockpot_event* e, Failure*) {
  wait_for(e, last_of(e));
  return 0;
}
int stream_wait(Context* c, uint32_t stream, stockpot_event* e, Failure*) {
  const uint64_t number = last_of(e);
  c->streams[stream].put([e, number] { wait_for(e, number); });
  return 0;
}
int event_elapsed(Context*, stockpot_event* a, stockpot_event* b, double* milliseconds, Failure*) {
  *milliseconds = std::chrono::duration<double, std::milli>(b->when - a->when).count();
  return 0;
}

int plan_create(Context*, const stockpot_plan_spec* spec, stockpot_plan** out, Failure* failure) {
  if (spec->operation != STOCKPOT_MEAN) return refuse(STOCKPOT_INVALID, "means only", failure);
  auto* plan = new stockpot_plan;
  const std::string wrong = stockpot::cuda::make_plan(*spec, &plan->host);
  if (!wrong.empty()) {
    delete plan;
    return refuse(STOCKPOT_INVALID, wrong.c_str(), failure);
  }
  *out = plan;
  return 0;
}
int plan_run(Context* c, stockpot_plan* plan, const double* weights, uint32_t stream, Failure*) {
  std::vector<double> w;
  if (weights) w.assign(weights, weights + plan->host.weights.size());
  c->streams[stream].put([plan, w] {
    if (!w.empty()) plan->host.weights = w;
    stockpot::cuda::run_on_host(plan->host);
  });
  return 0;
}
void plan_destroy(Context*, stockpot_plan* plan) { delete plan; }

const stockpot_backend kBackend = {
    STOCKPOT_BACKEND_VERSION,
    sizeof(stockpot_backend),
    "host",
    probe,
    device,
    open,
    close,
    synchronize,
    memory,
    allocate,
    release,
    allocate_host,
    release_host,
    copy_in,
    copy_out,
    fill_zero,
    event_create,
    event_destroy,
    event_record,
    event_wait,
    stream_wait,
    event_elapsed,
    plan_create,
    plan_run,
    plan_destroy,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const stockpot_backend* stockpot_backend_v1(
    uint32_t version) {
  if (pretends("old-version") || version != STOCKPOT_BACKEND_VERSION) return nullptr;
  return &kBackend;
}

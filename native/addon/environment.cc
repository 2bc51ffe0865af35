#include "environment.h"

#include <cstring>
#include <filesystem>

#include "../stream/trim.h"

namespace stockpot {

// What JavaScript refers to until its garbage is collected, which may be long after the end: the
// job and what it holds are gone by then.
struct Environment::Handle {
  std::shared_ptr<Job> job;
  uint64_t bytes_read = 0, bytes_written = 0;  // of a job that is over

  void count() {
    bytes_read = job->bytes_read.load();
    bytes_written = job->bytes_written.load();
  }
};

struct Environment::Running {
  std::shared_ptr<Job> job;
  std::shared_ptr<Handle> handle;
  std::function<Napi::Value(Napi::Env)> result;
  Napi::Promise::Deferred deferred;
  Napi::ThreadSafeFunction finished;
  std::thread thread;
};

Environment::~Environment() {
  for (const auto& r : running_) r->job->abort();
  for (const auto& r : running_) {
    if (r->thread.joinable()) r->thread.join();
  }
  for (const std::string& path : guarded_) {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
}

namespace {

const char* name_of(JobError::Kind kind) {
  switch (kind) {
    case JobError::Kind::kRead:
      return "read";
    case JobError::Kind::kShortRead:
      return "short-read";
    case JobError::Kind::kWrite:
      return "write";
    case JobError::Kind::kAborted:
      return "aborted";
    case JobError::Kind::kMemory:
      return "memory";
    case JobError::Kind::kInput:
      return "input";
    case JobError::Kind::kDevice:
      return "device";
    default:
      return "internal";
  }
}

// { kind, errno, strerror, file, segment, output, what }: lib/native.ts makes a StockpotError of
// it.
Napi::Object to_object(Napi::Env env, const JobError& e) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("kind", name_of(e.kind));
  o.Set("errno", e.error_number);
  o.Set("strerror", e.error_number > 0 ? std::strerror(e.error_number) : "");
  o.Set("file", static_cast<double>(e.file));
  o.Set("segment", static_cast<double>(e.segment));
  o.Set("output", static_cast<double>(e.output));
  o.Set("what", e.what);
  return o;
}

}  // namespace

Napi::Object Environment::start(Napi::Env env, std::shared_ptr<Job> job,
                                std::function<Napi::Value(Napi::Env)> result) {
  const auto handle = std::make_shared<Handle>(Handle{job});
  auto running = std::make_shared<Running>(
      Running{job, handle, std::move(result), Napi::Promise::Deferred::New(env), {}, {}});
  running->finished = Napi::ThreadSafeFunction::New(
      env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "stockpot job", 0, 1);
  running_.insert(running);
  running->thread = std::thread([this, running] {
    running->job->run();
    give_back_memory();
    const auto settle = [this, running](Napi::Env e, Napi::Function) {
      running->thread.join();
      running_.erase(running);
      running->handle->count();
      running->handle->job.reset();
      Napi::HandleScope scope(e);
      if (running->job->error().kind == JobError::Kind::kNone) {
        running->deferred.Resolve(running->result(e));
      } else {
        running->deferred.Reject(to_object(e, running->job->error()));
      }
    };
    // After napi_closing (the environment ends) the function is gone, and with it our share of it.
    if (running->finished.BlockingCall(settle) != napi_closing) running->finished.Release();
  });

  Napi::Object o = Napi::Object::New(env);
  o.Set("promise", running->deferred.Promise());
  o.Set("abort", Napi::Function::New(env, [handle](const Napi::CallbackInfo&) {
          if (handle->job) handle->job->abort();
        }));
  o.Set("progress",
        Napi::Function::New(env, [handle](const Napi::CallbackInfo& info) -> Napi::Value {
          if (handle->job) handle->count();
          Napi::Object progress = Napi::Object::New(info.Env());
          progress.Set("bytesRead", static_cast<double>(handle->bytes_read));
          progress.Set("bytesWritten", static_cast<double>(handle->bytes_written));
          return progress;
        }));
  return o;
}

}  // namespace stockpot

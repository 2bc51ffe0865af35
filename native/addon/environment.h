#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "../stream/job.h"

namespace stockpot {

// What one JavaScript environment (the main thread or a worker) has under way. When the environment
// ends (exit, terminate), its jobs are aborted and joined, and the guarded paths are removed, so
// that nothing half-written stays.
class Environment {
 public:
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  ~Environment();

  // Starts the job on a thread of its own. Returns { promise, abort(), progress() }; the promise
  // resolves with what `result` makes of the finished job, or rejects with what `error` makes of a
  // failed one.
  Napi::Object start(Napi::Env env, std::shared_ptr<Job> job,
                     std::function<Napi::Value(Napi::Env)> result);

  void guard(const std::string& path) { guarded_.insert(path); }
  void unguard(const std::string& path) { guarded_.erase(path); }

 private:
  struct Handle;
  struct Running;
  std::set<std::shared_ptr<Running>> running_;
  std::set<std::string> guarded_;
};

}  // namespace stockpot

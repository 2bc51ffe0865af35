// Jobs without an event loop: each runs to its end at once.
#include "../../../native/addon/environment.h"

namespace stockpot {

struct Environment::Running {};
Environment::~Environment() = default;

// { result } of a job that succeeded, { failed } of one that did not.
Napi::Object Environment::start(Napi::Env env, std::shared_ptr<Job> job,
                                std::function<Napi::Value(Napi::Env)> result) {
  job->run();
  Napi::Object o = Napi::Object::New(env);
  if (job->error().kind == JobError::Kind::kNone) {
    o.Set("result", result(env));
  } else {
    o.Set("failed", job->error().what);
  }
  return o;
}

}  // namespace stockpot

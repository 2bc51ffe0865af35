#include "files.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "../stream/hash_job.h"
#include "../stream/read_ahead_job.h"
#include "environment.h"
#include "tables.h"
#include "values.h"

#if defined(__linux__)
#include <fcntl.h>
#include <sys/syscall.h>
#endif

namespace stockpot {
namespace {

Napi::Error system_error(Napi::Env env, const char* call) {
  const int number = errno;
  Napi::Error e = Napi::Error::New(env, std::string(call) + ": " + std::strerror(number));
  e.Set("errno", Napi::Number::New(env, number));
  return e;
}

}  // namespace

Napi::Value hash(const Napi::CallbackInfo& info) {
  const Tables t(info.Env(), info[0].As<Napi::Object>());
  HashPlan plan;
  plan.files = t.files();
  plan.threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  const auto elements = t.integers("elements", 0, kSafe / 8);
  plan.elements.assign(elements.begin(), elements.end());
  plan.sources = t.sources(plan.files.size(), plan.elements, 1, &plan.views);
  for (const Source& s : plan.sources) {
    if (s.file < 0) t.fail("sourceFile", "must name a file");
  }
  const auto job = std::make_shared<HashJob>(std::move(plan));
  return Environment::of(info.Env()).start(info.Env(), job, [job](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("sha256", strings(env, job->hashes()));
    return o;
  });
}

Napi::Value read_ahead(const Napi::CallbackInfo& info) {
  const Tables t(info.Env(), info[0].As<Napi::Object>());
  const auto files = t.files();
  const auto bytes = t.integers("bytes", 0, kSafe);
  if (bytes.size() != files.size()) t.fail("bytes", "must have one entry a file");
  std::vector<ReadAheadJob::File> list;
  for (size_t i = 0; i < files.size(); ++i)
    list.push_back({files[i], static_cast<uint64_t>(bytes[i])});
  const auto job = std::make_shared<ReadAheadJob>(std::move(list));
  return Environment::of(info.Env()).start(info.Env(), job, [job](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(env, static_cast<double>(job->bytes_read.load()));
  });
}

Napi::Value lock(const Napi::CallbackInfo& info) {
  if (flock(info[0].As<Napi::Number>().Int32Value(), LOCK_EX | LOCK_NB) == 0)
    return Napi::Boolean::New(info.Env(), true);
  if (errno == EWOULDBLOCK) return Napi::Boolean::New(info.Env(), false);
  throw system_error(info.Env(), "flock");
}

Napi::Value exchange(const Napi::CallbackInfo& info) {
#if defined(__linux__) && defined(SYS_renameat2)
  const std::string a = text(info[0]), b = text(info[1]);
  constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE
  if (syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0) {
    return Napi::Boolean::New(info.Env(), true);
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
    throw system_error(info.Env(), "renameat2");
#endif
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value make_pipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (pipe(ends) != 0) throw system_error(info.Env(), "pipe");
  Napi::Array list = Napi::Array::New(info.Env(), 2);
  list.Set(0u, ends[0]);
  list.Set(1u, ends[1]);
  return list;
}

}  // namespace stockpot

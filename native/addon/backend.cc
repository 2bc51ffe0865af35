#include "backend.h"

#include <cstring>
#include <string>

#include "../backend/library.h"
#include "../stream/device_merge_job.h"
#include "tables.h"

namespace stockpot {
namespace {

template <size_t kSize>
std::string words(const char (&text)[kSize]) {
  return std::string(text, strnlen(text, kSize));
}

const char* name_of(uint32_t status) {
  switch (status) {
    case STOCKPOT_OK:
      return "ok";
    case STOCKPOT_NO_DRIVER:
      return "no-driver";
    case STOCKPOT_OLD_DRIVER:
      return "old-driver";
    case STOCKPOT_NO_DEVICE:
      return "no-device";
    case STOCKPOT_OLD_DEVICE:
      return "old-device";
    default:
      return "failed";
  }
}

Napi::Object device_of(Napi::Env env, const stockpot_backend* backend, uint32_t index) {
  Napi::Object o = Napi::Object::New(env);
  stockpot_device_info info{};
  stockpot_failure failure{};
  const int status = backend->device(index, &info, &failure);
  o.Set("name", words(info.name));
  o.Set("memoryTotal", static_cast<double>(info.memory_total));
  o.Set("memoryFree", static_cast<double>(info.memory_free));
  o.Set("capability", std::to_string(info.major) + "." + std::to_string(info.minor));
  o.Set("multiprocessors", info.multiprocessors);
  o.Set("status", name_of(static_cast<uint32_t>(status)));
  o.Set("message", status ? words(failure.message) : "");
  return o;
}

}  // namespace

Napi::Value probe_backend(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object o = Napi::Object::New(env);
  std::string why;
  const stockpot_backend* backend =
      open_backend(info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "", &why);
  if (!backend) {
    o.Set("error", why);
    return o;
  }
  stockpot_probe probe{};
  backend->probe(&probe);
  o.Set("status", name_of(probe.status));
  o.Set("message", words(probe.message));
  o.Set("driverVersion", probe.driver_version);
  o.Set("runtimeVersion", probe.runtime_version);
  o.Set("matmulVersion", static_cast<double>(probe.matmul_version));
  o.Set("matmulMessage", words(probe.matmul_message));
  Napi::Array devices = Napi::Array::New(env);
  for (int32_t i = 0; probe.status == STOCKPOT_OK && i < probe.device_count && i < 64; ++i) {
    devices.Set(static_cast<uint32_t>(i), device_of(env, backend, static_cast<uint32_t>(i)));
  }
  o.Set("devices", devices);
  return o;
}

std::shared_ptr<MergeJob> make_merge_job(Napi::Env env, Napi::Object spec, MergePlan plan) {
  const Napi::Value library = spec.Get("deviceLibrary");
  if (!library.IsString()) return std::make_shared<MergeJob>(std::move(plan));
  const Tables t(env, spec);
  const int64_t index = t.integer("deviceIndex", 0, 1023);
  for (const Segment& s : plan.segments) {
    if (s.op == Op::kCompare) t.fail("op", "cannot compare on a device");
  }
  std::string why;
  const stockpot_backend* backend = open_backend(library.As<Napi::String>().Utf8Value(), &why);
  if (!backend) throw Napi::Error::New(env, why);
  return std::make_shared<DeviceMergeJob>(std::move(plan), backend, static_cast<uint32_t>(index));
}

}  // namespace stockpot

#include "memory.h"

#include <cmath>

#include "../stream/budget.h"

namespace stockpot {
namespace {

using Lease = MemoryBudget::Lease;
constexpr napi_type_tag kTag = {0x3c77f0a1d25b4e08u, 0xb41f6a92c05d8e37u};

uint64_t bytes_of(Napi::Env env, const Napi::Value& v) {
  const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : -1;
  if (!(d >= 0 && d <= 9007199254740991.0) || d != std::floor(d))
    throw Napi::TypeError::New(env, "stockpot addon: a number of bytes is expected");
  return static_cast<uint64_t>(d);
}

Napi::Value number(Napi::Env env, uint64_t n) {
  return Napi::Number::New(env, static_cast<double>(n));
}

}  // namespace

Napi::Value memory_held(const Napi::CallbackInfo& info) {
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("buffers", number(info.Env(), MemoryBudget::buffers().held()));
  o.Set("networks", number(info.Env(), MemoryBudget::networks().held()));
  return o;
}

Napi::Value room_for_network(const Napi::CallbackInfo& info) {
  return number(info.Env(), MemoryBudget::networks().left(bytes_of(info.Env(), info[0])));
}

Napi::Value hold_memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t wanted = bytes_of(env, info[0]), limit = bytes_of(env, info[1]);
  Lease lease = MemoryBudget::networks().take_now(wanted, limit);
  if (lease.bytes() != wanted) return env.Null();
  auto external = Napi::External<Lease>::New(env, new Lease(std::move(lease)),
                                             [](Napi::Env, Lease* held) { delete held; });
  external.TypeTag(&kTag);
  return external;
}

Napi::Value release_memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info[0].IsExternal()) {
    const auto external = info[0].As<Napi::External<Lease>>();
    if (external.CheckTypeTag(&kTag)) {
      external.Data()->release();
      return env.Undefined();
    }
  }
  throw Napi::TypeError::New(env, "stockpot addon: held memory is expected");
}

}  // namespace stockpot

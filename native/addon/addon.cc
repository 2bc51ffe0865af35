// The JavaScript face of the addon; lib/native.ts has its types. Nothing here decides anything:
// tables in, tables out.
#include <napi.h>

#include "backend.h"
#include "device.h"
#include "environment.h"
#include "files.h"
#include "gram.h"
#include "held.h"
#include "images.h"
#include "kernels.h"
#include "memory.h"
#include "merge.h"
#include "network.h"
#include "resident_set.h"
#include "training.h"
#include "values.h"

namespace stockpot {
namespace {

// guard(path) / unguard(path): a path that is removed if this environment ends before unguard.
void guard(const Napi::CallbackInfo& info) { Environment::of(info.Env()).guard(text(info[0])); }
void unguard(const Napi::CallbackInfo& info) { Environment::of(info.Env()).unguard(text(info[0])); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  exports.Set("merge", Napi::Function::New(env, merge));
  exports.Set("hash", Napi::Function::New(env, hash));
  exports.Set("gram", Napi::Function::New(env, gram));
  exports.Set("gramBlock", Napi::Function::New(env, gram_block));
  exports.Set("createNetwork", Napi::Function::New(env, create_network));
  exports.Set("forward", Napi::Function::New(env, forward));
  exports.Set("planNetwork", Napi::Function::New(env, plan_network));
  exports.Set("backward", Napi::Function::New(env, backward));
  exports.Set("dot", Napi::Function::New(env, dot));
  exports.Set("gradient", Napi::Function::New(env, gradient));
  exports.Set("inputGradient", Napi::Function::New(env, input_gradient));
  exports.Set("openDevice", Napi::Function::New(env, open_device));
  exports.Set("closeDevice", Napi::Function::New(env, close_device));
  exports.Set("deviceMemory", Napi::Function::New(env, device_memory));
  exports.Set("createHeld", Napi::Function::New(env, create_held));
  exports.Set("hold", Napi::Function::New(env, hold));
  exports.Set("releaseHeld", Napi::Function::New(env, release_held));
  exports.Set("freeNetwork", Napi::Function::New(env, free_network));
  exports.Set("createSet", Napi::Function::New(env, create_set));
  exports.Set("fillSet", Napi::Function::New(env, fill_set));
  exports.Set("freeSet", Napi::Function::New(env, free_set));
  exports.Set("memoryHeld", Napi::Function::New(env, memory_held));
  exports.Set("roomForNetwork", Napi::Function::New(env, room_for_network));
  exports.Set("holdMemory", Napi::Function::New(env, hold_memory));
  exports.Set("releaseMemory", Napi::Function::New(env, release_memory));
  exports.Set("readAhead", Napi::Function::New(env, read_ahead));
  exports.Set("resample", Napi::Function::New(env, resample_image));
  exports.Set("probeBackend", Napi::Function::New(env, probe_backend));
  exports.Set("meanBlock", Napi::Function::New(env, mean_block));
  exports.Set("variants", Napi::Function::New(env, variants));
  exports.Set("sha256Plain", Napi::Function::New(env, sha256_plain_of));
  exports.Set("lock", Napi::Function::New(env, lock));
  exports.Set("exchange", Napi::Function::New(env, exchange));
  exports.Set("pipe", Napi::Function::New(env, make_pipe));
  exports.Set("guard", Napi::Function::New(env, guard));
  exports.Set("unguard", Napi::Function::New(env, unguard));
  return exports;
}

}  // namespace
}  // namespace stockpot

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  return stockpot::init(env, exports);
}
NODE_API_MODULE(stockpot, Init)

#pragma once
#include <napi.h>

namespace stockpot {

// The process's shared memory budget; see lib/native.ts.
Napi::Value memory_held(const Napi::CallbackInfo& info);
Napi::Value room_for_network(const Napi::CallbackInfo& info);
Napi::Value hold_memory(const Napi::CallbackInfo& info);
Napi::Value release_memory(const Napi::CallbackInfo& info);

}  // namespace stockpot

#pragma once
#include <napi.h>

#include <memory>

#include "../stream/device_block.h"
#include "../stream/held_block.h"

namespace stockpot {

// createHeld(bytes, device) -> handle; hold(table) -> job, which fills it; releaseHeld(handle). See
// lib/native.ts.
Napi::Value create_held(const Napi::CallbackInfo& info);
Napi::Value hold(const Napi::CallbackInfo& info);
void release_held(const Napi::CallbackInfo& info);

// The block behind a handle. Throws a JavaScript TypeError for anything else.
std::shared_ptr<HeldBlock> held_block_of(Napi::Env env, const Napi::Value& handle);
std::shared_ptr<DeviceBlock> device_block_of(Napi::Env env, const Napi::Value& handle);

}  // namespace stockpot

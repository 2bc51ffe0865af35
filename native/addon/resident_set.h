#pragma once
#include <napi.h>

#include "../stream/resident_set.h"

namespace stockpot {

// createSet(device, rows, tables) -> handle or null; fillSet(handle, rows, data) -> job;
// freeSet(handle): freed when what runs on it is over. See lib/native.ts.
Napi::Value create_set(const Napi::CallbackInfo& info);
Napi::Value fill_set(const Napi::CallbackInfo& info);
Napi::Value free_set(const Napi::CallbackInfo& info);

// { set, table, rows } in place of an input's values. Throws a JavaScript TypeError where they are
// not of this device, or do not fit the input.
InputData rows_of(Napi::Env env, const Napi::Object& given, const Device& device,
                  const GraphInput& input, uint32_t batch);

}  // namespace stockpot

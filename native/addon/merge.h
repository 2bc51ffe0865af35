#pragma once
#include <napi.h>

namespace stockpot {

// merge(table): a job; lib/native.ts has the table and the result.
Napi::Value merge(const Napi::CallbackInfo& info);

}  // namespace stockpot

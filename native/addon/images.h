#pragma once
#include <napi.h>

namespace stockpot {

// resample(table) -> job; see lib/native.ts.
Napi::Value resample_image(const Napi::CallbackInfo& info);

}  // namespace stockpot

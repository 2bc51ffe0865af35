#pragma once
#include <napi.h>

namespace stockpot {

// backward(handle, inputs, batch, dout, fresh) -> job; dot(table) -> job; gradient(handle, weight)
// and inputGradient(handle, input) -> Float32Array. See lib/native.ts.
Napi::Value backward(const Napi::CallbackInfo& info);
Napi::Value dot(const Napi::CallbackInfo& info);
Napi::Value gradient(const Napi::CallbackInfo& info);
Napi::Value input_gradient(const Napi::CallbackInfo& info);

}  // namespace stockpot

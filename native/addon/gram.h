#pragma once
#include <napi.h>

namespace stockpot {

// gram(table): a job; lib/native.ts has the table and the result.
Napi::Value gram(const Napi::CallbackInfo& info);
// gramBlock(variant, inputs: Uint8Array[], dtypes: number[]) -> Float64Array; for tests of the
// kernels.
Napi::Value gram_block(const Napi::CallbackInfo& info);

}  // namespace stockpot

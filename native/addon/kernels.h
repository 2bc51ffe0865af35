#pragma once
#include <napi.h>

#include <string>

#include "../kernels/mean.h"

namespace stockpot {

// The variant of the mean that is named, or the best that the machine has for "". Throws a
// JavaScript TypeError.
MeanKernel mean_kernel_named(Napi::Env env, const std::string& name);

// variants(): names of the variants of the mean that the machine has, the best first.
Napi::Value variants(const Napi::CallbackInfo& info);
// meanBlock(variant, inputs: Uint8Array[], dtypes: number[], weights: number[] | null, outDtype:
// number)
//   -> { out: Uint8Array, nonfinite: boolean, overflows: number }. In memory, synchronous; for
//   tests of the kernels.
Napi::Value mean_block(const Napi::CallbackInfo& info);
// sha256Plain(bytes): the portable code's digest, for tests.
Napi::Value sha256_plain_of(const Napi::CallbackInfo& info);

}  // namespace stockpot

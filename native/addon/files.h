#pragma once
#include <napi.h>

namespace stockpot {

// hash(table): a job; lib/native.ts has the table and the result.
Napi::Value hash(const Napi::CallbackInfo& info);
// readAhead({ files, bytes }) -> job: asks for the first `bytes` of each file.
Napi::Value read_ahead(const Napi::CallbackInfo& info);
// lock(fd): takes an exclusive lock that ends with the file descriptor or the process. False where
// another holds it.
Napi::Value lock(const Napi::CallbackInfo& info);
// exchange(a, b): swaps two paths in one step. False where the file system cannot.
Napi::Value exchange(const Napi::CallbackInfo& info);
// pipe(): [read end, write end].
Napi::Value make_pipe(const Napi::CallbackInfo& info);

}  // namespace stockpot

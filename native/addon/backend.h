#pragma once
#include <napi.h>

#include <memory>

#include "../stream/merge_job.h"

namespace stockpot {

// probeBackend(path) -> what the library finds on this machine, or { error } where it is none; see
// lib/native.ts. For a child process: a broken driver may crash.
Napi::Value probe_backend(const Napi::CallbackInfo& info);

// The job of a merge on the device that the fields `deviceLibrary` and `deviceIndex` name, or on
// the processor where there are none.
std::shared_ptr<MergeJob> make_merge_job(Napi::Env env, Napi::Object spec, MergePlan plan);

}  // namespace stockpot

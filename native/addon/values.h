#pragma once
#include <napi.h>

#include <string>
#include <vector>

namespace stockpot {

// What lib/ never passes: a mistake of ours, not a user's.
[[noreturn]] inline void fail(Napi::Env env, const std::string& what) {
  throw Napi::TypeError::New(env, "stockpot addon: " + what);
}

// Empty for what is no string.
inline std::string text(const Napi::Value& v) {
  return v.IsString() ? v.As<Napi::String>().Utf8Value() : "";
}

inline Napi::Array strings(Napi::Env env, const std::vector<std::string>& from) {
  Napi::Array list = Napi::Array::New(env, from.size());
  for (uint32_t i = 0; i < from.size(); ++i) list.Set(i, from[i]);
  return list;
}

}  // namespace stockpot

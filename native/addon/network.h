#pragma once
#include <napi.h>

#include <memory>

#include "../executor/network.h"

namespace stockpot {

// createNetwork(graph, batch, threads, variant, floats, device) -> handle, and forward(handle,
// inputs, batch, out) -> job; see lib/native.ts. A handle is an External; it is freed when
// JavaScript no longer holds it.
Napi::Value create_network(const Napi::CallbackInfo& info);
Napi::Value plan_network(const Napi::CallbackInfo& info);
Napi::Value forward(const Napi::CallbackInfo& info);
// freeNetwork(handle): frees it now; what runs on it goes on to its end.
Napi::Value free_network(const Napi::CallbackInfo& info);

// The network behind a handle. Throws a JavaScript TypeError for anything else, and where it was
// freed.
std::shared_ptr<Network> network_of(Napi::Env env, const Napi::Value& handle);

// The arguments of a pass, checked against the network. They throw a JavaScript TypeError.
uint32_t batch_of(Napi::Env env, const Network& network, const Napi::Value& v);
std::vector<InputData> inputs_of(Napi::Env env, const Network& network, const Napi::Value& v,
                                 uint32_t batch);

}  // namespace stockpot

#pragma once
#include <napi.h>

#include <memory>
#include <string>

#include "../stream/device_block.h"
#include "../stream/device_network.h"

namespace stockpot {

// openDevice(library, index, number) -> handle; closeDevice(handle): closed when nothing on it is
// left; deviceMemory(handle) -> free bytes. See lib/native.ts.
Napi::Value open_device(const Napi::CallbackInfo& info);
Napi::Value close_device(const Napi::CallbackInfo& info);
Napi::Value device_memory(const Napi::CallbackInfo& info);

struct OpenDevice {
  std::shared_ptr<Device> device;
  uint32_t number;      // stockpot_number of its networks
  std::string variant;  // what the last bits of logits depend on
};

// The device behind a handle. Throws a JavaScript TypeError for anything else, and where it was
// closed.
const OpenDevice& device_of(Napi::Env env, const Napi::Value& handle);

// What is thrown where a device refuses: a RangeError where memory is short.
Napi::Error device_error(Napi::Env env, const DeviceError& e);

}  // namespace stockpot

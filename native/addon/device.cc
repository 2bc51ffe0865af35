#include "device.h"

#include "../backend/library.h"

namespace stockpot {
namespace {

constexpr napi_type_tag kTag = {0x2f9d4be16c7a4c35u, 0x8e51d07b3a64f912u};

OpenDevice* opened(Napi::Env env, const Napi::Value& handle) {
  if (handle.IsExternal()) {
    const auto external = handle.As<Napi::External<OpenDevice>>();
    if (external.CheckTypeTag(&kTag)) return external.Data();
  }
  throw Napi::TypeError::New(env, "stockpot addon: a device's handle is expected");
}

}  // namespace

const OpenDevice& device_of(Napi::Env env, const Napi::Value& handle) {
  const OpenDevice* on = opened(env, handle);
  if (!on->device) throw Napi::TypeError::New(env, "stockpot addon: the device was closed");
  return *on;
}

Napi::Error device_error(Napi::Env env, const DeviceError& e) {
  Napi::Error error = e.status == STOCKPOT_OUT_OF_MEMORY
                          ? static_cast<Napi::Error>(Napi::RangeError::New(env, e.what()))
                          : Napi::Error::New(env, e.what());
  error.Set("device", Napi::Boolean::New(env, true));
  return error;
}

Napi::Value open_device(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint32_t index = info[1].ToNumber().Uint32Value();
  const uint32_t number = info[2].ToNumber().Uint32Value();
  if (index > 1023 || number > STOCKPOT_NUMBER_F16)
    throw Napi::TypeError::New(env, "stockpot addon: no such device or number");
  std::string why;
  const stockpot_backend* backend =
      open_backend(info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "", &why);
  if (!backend) throw Napi::Error::New(env, why);
  auto made = std::make_unique<OpenDevice>();
  try {
    made->device = std::make_shared<Device>(backend, index);
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  }
  static const char* const kNumbers[] = {"f32", "bf16", "f16"};
  made->number = number;
  made->variant = std::string(backend->name) + " " + kNumbers[number];
  auto external = Napi::External<OpenDevice>::New(env, made.release(),
                                                  [](Napi::Env, OpenDevice* p) { delete p; });
  external.TypeTag(&kTag);
  return external;
}

Napi::Value close_device(const Napi::CallbackInfo& info) {
  opened(info.Env(), info[0])->device.reset();
  return info.Env().Undefined();
}

Napi::Value device_memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    return Napi::Number::New(env,
                             static_cast<double>(device_of(env, info[0]).device->free_memory()));
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  }
}

}  // namespace stockpot

#include "held.h"

#include "../stream/device_hold_job.h"
#include "../stream/hold_job.h"
#include "device.h"
#include "environment.h"
#include "tables.h"

namespace stockpot {
namespace {

constexpr napi_type_tag kTag = {0x7be1930c6a5d4f18u, 0xb2c4e90d17f3685au};
constexpr napi_type_tag kDeviceTag = {0x6a0e57c2d9b34f71u, 0x913fd2486be0a7c5u};

// nullptr: no handle of such a block.
template <class Block>
std::shared_ptr<Block>* handle_of(const Napi::Value& v, const napi_type_tag& tag) {
  if (!v.IsExternal()) return nullptr;
  const auto external = v.As<Napi::External<std::shared_ptr<Block>>>();
  return external.CheckTypeTag(&tag) ? external.Data() : nullptr;
}

template <class Block>
std::shared_ptr<Block> block_of(Napi::Env env, const Napi::Value& v, const napi_type_tag& tag) {
  const std::shared_ptr<Block>* handle = handle_of<Block>(v, tag);
  if (handle && *handle) return *handle;
  throw Napi::TypeError::New(env, handle ? "stockpot addon: the held block was released"
                                         : "stockpot addon: a held block's handle is expected");
}

template <class Block>
Napi::Value handle_to(Napi::Env env, std::shared_ptr<Block> block, const napi_type_tag& tag) {
  auto external = Napi::External<std::shared_ptr<Block>>::New(
      env, new std::shared_ptr<Block>(std::move(block)),
      [](Napi::Env, std::shared_ptr<Block>* p) { delete p; });
  external.TypeTag(&tag);
  return external;
}

// Where each source goes in a block of so many bytes.
std::vector<uint64_t> offsets_of(const Tables& t, const std::vector<uint64_t>& elements,
                                 const std::vector<Source>& sources, uint64_t bytes_there) {
  const auto offsets = t.integers("blockOffset", 0, kSafe);
  if (offsets.size() != elements.size()) t.fail("blockOffset", "must have one entry a source");
  std::vector<uint64_t> out;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const uint64_t bytes = elements[i] * byte_size(sources[i].dtype);
    if (static_cast<uint64_t>(offsets[i]) + bytes > bytes_there)
      t.fail("blockOffset", "reaches past the block");
    out.push_back(static_cast<uint64_t>(offsets[i]));
  }
  return out;
}

template <class HoldJobOf>
Napi::Value start_hold(Napi::Env env, const std::shared_ptr<HoldJobOf>& job) {
  return Environment::of(env).start(env, job, [job](Napi::Env e) -> Napi::Value {
    return Napi::Number::New(e, static_cast<double>(job->bytes_read.load()));
  });
}

}  // namespace

std::shared_ptr<HeldBlock> held_block_of(Napi::Env env, const Napi::Value& v) {
  return block_of<HeldBlock>(env, v, kTag);
}

std::shared_ptr<DeviceBlock> device_block_of(Napi::Env env, const Napi::Value& v) {
  return block_of<DeviceBlock>(env, v, kDeviceTag);
}

Napi::Value create_held(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const double bytes = info[0].ToNumber().DoubleValue();
  if (!(bytes >= 0 && bytes <= static_cast<double>(kSafe)))
    throw Napi::TypeError::New(env, "stockpot addon: bytes is out of range");
  const uint64_t size = static_cast<uint64_t>(bytes);
  try {
    if (info[1].IsExternal()) {
      const auto& device = device_of(env, info[1]).device;
      return handle_to(env, std::make_shared<DeviceBlock>(device, size), kDeviceTag);
    }
    return handle_to(env, std::make_shared<HeldBlock>(size), kTag);
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  } catch (const std::bad_alloc&) {
    throw Napi::RangeError::New(env, "out of memory");
  }
}

void release_held(const Napi::CallbackInfo& info) {
  if (auto* on_device = handle_of<DeviceBlock>(info[0], kDeviceTag)) return on_device->reset();
  if (auto* block = handle_of<HeldBlock>(info[0], kTag)) return block->reset();
  throw Napi::TypeError::New(info.Env(), "stockpot addon: a held block's handle is expected");
}

Napi::Value hold(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Tables t(env, info[0].As<Napi::Object>());
  const auto files = t.files();
  const auto threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  const auto listed = t.integers("elements", 0, kSafe / 8);
  const std::vector<uint64_t> elements(listed.begin(), listed.end());
  const Napi::Value block = t.object().Get("block");
  if (handle_of<DeviceBlock>(block, kDeviceTag)) {
    DeviceHoldPlan plan;
    plan.files = files;
    plan.threads = threads;
    plan.elements = elements;
    plan.sources = t.sources(files.size(), elements, 1, &plan.views);
    plan.block = device_block_of(env, block);
    plan.offsets = offsets_of(t, elements, plan.sources, plan.block->bytes);
    plan.memory = static_cast<uint64_t>(t.integer("memory", 0, kSafe));
    return start_hold(env, std::make_shared<DeviceHoldJob>(std::move(plan)));
  }
  HoldPlan plan;
  plan.files = files;
  plan.threads = threads;
  plan.elements = elements;
  plan.sources = t.sources(files.size(), elements, 1, &plan.views);
  plan.block = held_block_of(env, block);
  plan.offsets = offsets_of(t, elements, plan.sources, plan.block->bytes);
  return start_hold(env, std::make_shared<HoldJob>(std::move(plan)));
}

}  // namespace stockpot

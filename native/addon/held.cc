#include "held.h"

#include "../stream/hold_job.h"
#include "environment.h"
#include "tables.h"

namespace stockpot {
namespace {

constexpr napi_type_tag kTag = {0x7be1930c6a5d4f18u, 0xb2c4e90d17f3685au};
constexpr int64_t kSafe = int64_t{1} << 53;

using Handle = std::shared_ptr<HeldBlock>;

Handle* handle_of(Napi::Env env, const Napi::Value& v) {
  if (v.IsExternal()) {
    const auto external = v.As<Napi::External<Handle>>();
    if (external.CheckTypeTag(&kTag)) return external.Data();
  }
  throw Napi::TypeError::New(env, "stockpot addon: a held block's handle is expected");
}

}  // namespace

std::shared_ptr<HeldBlock> held_block_of(Napi::Env env, const Napi::Value& v) {
  Handle* handle = handle_of(env, v);
  if (!*handle) throw Napi::TypeError::New(env, "stockpot addon: the held block was released");
  return *handle;
}

Napi::Value create_held(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const double bytes = info[0].ToNumber().DoubleValue();
  if (!(bytes >= 0 && bytes <= static_cast<double>(kSafe)))
    throw Napi::TypeError::New(env, "stockpot addon: bytes is out of range");
  Handle block;
  try {
    block = std::make_shared<HeldBlock>(static_cast<uint64_t>(bytes));
  } catch (const std::exception&) {
    throw Napi::RangeError::New(env, "out of memory");
  }
  auto external =
      Napi::External<Handle>::New(env, new Handle(block), [](Napi::Env, Handle* p) { delete p; });
  external.TypeTag(&kTag);
  return external;
}

void release_held(const Napi::CallbackInfo& info) { handle_of(info.Env(), info[0])->reset(); }

Napi::Value hold(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Tables t(env, info[0].As<Napi::Object>());
  HoldPlan plan;
  plan.files = t.files();
  plan.threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  const auto elements = t.integers("elements", 0, kSafe / 8);
  plan.elements.assign(elements.begin(), elements.end());
  plan.sources = t.sources(plan.files.size(), plan.elements, 1, &plan.views);
  plan.block = held_block_of(env, t.object().Get("block"));
  const auto offsets = t.integers("blockOffset", 0, kSafe);
  if (offsets.size() != elements.size()) t.fail("blockOffset", "must have one entry a source");
  for (size_t i = 0; i < offsets.size(); ++i) {
    const uint64_t bytes = plan.elements[i] * byte_size(plan.sources[i].dtype);
    if (static_cast<uint64_t>(offsets[i]) + bytes > plan.block->bytes)
      t.fail("blockOffset", "reaches past the block");
    plan.offsets.push_back(static_cast<uint64_t>(offsets[i]));
  }
  const auto job = std::make_shared<HoldJob>(std::move(plan));
  return Environment::of(env).start(env, job, [job](Napi::Env e) -> Napi::Value {
    return Napi::Number::New(e, static_cast<double>(job->bytes_read.load()));
  });
}

}  // namespace stockpot

#include "images.h"

#include <memory>
#include <string>

#include "../images/resample.h"
#include "../stream/budget.h"
#include "environment.h"
#include "tables.h"

namespace stockpot {
namespace {

constexpr int64_t kLargestEdge = 1 << 24;

// One image, on one thread; several of these run at a time.
class ResampleJob : public Job {
 public:
  ResampleJob(const ResampleKernels& kernels, ResamplePlan plan, const uint8_t* rgb,
              uint8_t* planes)
      : kernels_(kernels), plan_(std::move(plan)), rgb_(rgb), planes_(planes) {}

 protected:
  void work() override {
    const auto lease = ThreadBudget::process().take(1, [this] { return stopping(); });
    if (lease.threads() == 0) return;
    resample(kernels_, plan_, rgb_, planes_, [this] { return stopping(); });
  }

 private:
  const ResampleKernels& kernels_;
  ResamplePlan plan_;
  const uint8_t* rgb_;
  uint8_t* planes_;
};

std::vector<int32_t> integers_of(const Tables& t, const char* field) {
  const Napi::Value v = t.object().Get(field);
  if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    t.fail(field, "must be an Int32Array");
  const auto a = v.As<Napi::Int32Array>();
  return std::vector<int32_t>(a.Data(), a.Data() + a.ElementLength());
}

Taps taps_of(Napi::Env env, const Tables& t, const char* field) {
  const Napi::Value v = t.object().Get(field);
  if (!v.IsObject()) t.fail(field, "must be an object");
  const Tables axis(env, v.As<Napi::Object>());
  return {integers_of(axis, "start"), integers_of(axis, "length"), integers_of(axis, "weights"),
          static_cast<size_t>(axis.integer("width", 0, 2 * kLargestEdge))};
}

Napi::Uint8Array bytes_of(const Tables& t, const char* field, uint64_t length) {
  const Napi::Value v = t.object().Get(field);
  if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    t.fail(field, "must be a Uint8Array");
  const auto a = v.As<Napi::Uint8Array>();
  if (a.ByteLength() != length) t.fail(field, "has another length than its image");
  return a;
}

}  // namespace

Napi::Value resample_image(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throw Napi::TypeError::New(env, "stockpot addon: a table is expected");
  const Tables t(env, info[0].As<Napi::Object>());
  const auto size = [&t](const char* field, int64_t least) {
    return static_cast<size_t>(t.integer(field, least, kLargestEdge));
  };
  ResamplePlan plan;
  plan.source_width = size("sourceWidth", 1);
  plan.source_height = size("sourceHeight", 1);
  plan.width = size("width", 1);
  plan.height = size("height", 1);
  plan.left = size("left", 0);
  plan.top = size("top", 0);
  plan.columns = taps_of(env, t, "columns");
  plan.rows = taps_of(env, t, "rows");
  const std::string wrong = check(plan);
  if (!wrong.empty()) t.fail("columns, rows", wrong.c_str());
  auto rgb = bytes_of(t, "rgb", uint64_t{3} * plan.source_width * plan.source_height);
  auto planes = bytes_of(t, "planes", uint64_t{3} * plan.width * plan.height);
  const Napi::Value variant = t.object().Get("variant");
  const std::string name = variant.IsString() ? variant.As<Napi::String>().Utf8Value() : "";
  const ResampleKernels* kernels = resample_kernels(name.c_str());
  if (!kernels) t.fail("variant", "is none of this machine");
  const auto job =
      std::make_shared<ResampleJob>(*kernels, std::move(plan), rgb.Data(), planes.Data());
  // Held until the job is over, so that nothing is collected under it.
  Napi::Object held = Napi::Object::New(env);
  held.Set("rgb", rgb);
  held.Set("planes", planes);
  const auto reference = std::make_shared<Napi::ObjectReference>(Napi::Persistent(held));
  return Environment::of(env).start(
      env, job, [reference](Napi::Env e) -> Napi::Value { return e.Undefined(); });
}

}  // namespace stockpot

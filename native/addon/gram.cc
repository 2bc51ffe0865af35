#include "gram.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "../stream/gram_job.h"
#include "environment.h"
#include "tables.h"

namespace stockpot {
namespace {

GramKernel kernel_named(Napi::Env env, const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  size_t count;
  const GramVariant* variants = gram_variants(&count);
  for (size_t i = 0; i < count; ++i) {
    if (name.empty() || name == variants[i].name) return variants[i].kernel;
  }
  throw Napi::TypeError::New(env, "stockpot addon: no variant " + name + " on this machine");
}

GramPlan read_plan(Napi::Env env, Napi::Object spec) {
  const Tables t(env, spec);
  GramPlan plan;
  plan.files = t.files();
  plan.k = static_cast<uint32_t>(t.integer("k", 1, kMostInputs));
  plan.threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  plan.memory = static_cast<uint64_t>(t.integer("memory", 0, kSafe));
  plan.groups = static_cast<uint32_t>(t.integer("groups", 1, 1 << 24));
  plan.kernel = kernel_named(env, spec.Get("variant"));
  for (int64_t n : t.integers("elements", 0, kSafe / 8))
    plan.elements.push_back(static_cast<uint64_t>(n));
  for (int64_t g : t.integers("group", 0, int64_t{plan.groups} - 1))
    plan.group.push_back(static_cast<uint32_t>(g));
  if (plan.group.size() != plan.elements.size()) t.fail("group", "must have one entry a segment");
  plan.sources = t.sources(plan.files.size(), plan.elements, plan.k, &plan.views);
  for (const Source& s : plan.sources) {
    if (s.file < 0) t.fail("sourceFile", "must name a file");
    if (!is_float(s.dtype)) t.fail("sourceDtype", "must be floating-point");
  }
  return plan;
}

Napi::Float64Array numbers(Napi::Env env, const std::vector<double>& from) {
  Napi::Float64Array out = Napi::Float64Array::New(env, from.size());
  if (!from.empty()) std::memcpy(out.Data(), from.data(), from.size() * sizeof(double));
  return out;
}

}  // namespace

Napi::Value gram(const Napi::CallbackInfo& info) {
  const auto job = std::make_shared<GramJob>(read_plan(info.Env(), info[0].As<Napi::Object>()));
  return Environment::of(info.Env()).start(info.Env(), job, [job](Napi::Env env) -> Napi::Value {
    Napi::Array findings = Napi::Array::New(env);
    uint32_t at = 0;
    for (const auto& f : job->nonfinite()) {
      Napi::Object o = Napi::Object::New(env);
      o.Set("segment", f.segment);
      o.Set("input", f.input);
      o.Set("count", static_cast<double>(f.count));
      o.Set("first", static_cast<double>(f.first));
      findings.Set(at++, o);
    }
    Napi::Object o = Napi::Object::New(env);
    o.Set("products", numbers(env, job->products()));
    o.Set("nonfinite", findings);
    o.Set("bytesRead", static_cast<double>(job->bytes_read.load()));
    return o;
  });
}

Napi::Value gram_block(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto inputs = info[1].As<Napi::Array>();
  const auto types = info[2].As<Napi::Array>();
  std::vector<const uint8_t*> pointers;
  std::vector<DType> dtypes;
  size_t n = kGramBlock;
  for (uint32_t i = 0; i < inputs.Length(); ++i) {
    const auto bytes = inputs.Get(i).As<Napi::Uint8Array>();
    const uint32_t type = types.Get(i).As<Napi::Number>().Uint32Value();
    if (type > static_cast<uint32_t>(DType::kF8E5M2))
      throw Napi::TypeError::New(env, "gramBlock: not a float type");
    dtypes.push_back(static_cast<DType>(type));
    pointers.push_back(bytes.Data());
    n = std::min(n, bytes.ByteLength() / byte_size(dtypes.back()));
  }
  if (pointers.empty() || n == 0) throw Napi::TypeError::New(env, "gramBlock: nothing given");
  const auto k = static_cast<uint32_t>(pointers.size());
  std::vector<double> vectors(k * kGramBlock), products(gram_pairs(k));
  kernel_named(env,
               info[0])({pointers.data(), dtypes.data(), k, n, vectors.data(), products.data()});
  return numbers(env, products);
}

}  // namespace stockpot

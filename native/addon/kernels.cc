#include "kernels.h"

#include <algorithm>
#include <vector>

#include "../hash/sha256.h"
#include "../kernels/dispatch.h"
#include "values.h"

namespace stockpot {

MeanKernel mean_kernel_named(Napi::Env env, const std::string& name) {
  size_t count;
  const MeanVariant* variants = mean_variants(&count);
  if (name.empty()) return variants[0].kernel;
  for (size_t i = 0; i < count; ++i) {
    if (name == variants[i].name) return variants[i].kernel;
  }
  throw Napi::TypeError::New(env, "stockpot addon: no variant " + name + " on this machine");
}

Napi::Value variants(const Napi::CallbackInfo& info) {
  size_t count;
  const MeanVariant* found = mean_variants(&count);
  Napi::Array list = Napi::Array::New(info.Env(), count);
  for (uint32_t i = 0; i < count; ++i) list.Set(i, found[i].name);
  return list;
}

Napi::Value mean_block(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto inputs = info[1].As<Napi::Array>();
  const auto types = info[2].As<Napi::Array>();
  std::vector<const uint8_t*> pointers;
  std::vector<DType> dtypes;
  std::vector<double> weights;
  size_t n = SIZE_MAX;
  for (uint32_t i = 0; i < inputs.Length(); ++i) {
    const auto bytes = inputs.Get(i).As<Napi::Uint8Array>();
    const uint32_t type = types.Get(i).As<Napi::Number>().Uint32Value();
    if (type > static_cast<uint32_t>(DType::kF8E5M2))
      throw Napi::TypeError::New(env, "meanBlock: not a float type");
    dtypes.push_back(static_cast<DType>(type));
    pointers.push_back(bytes.Data());
    n = std::min(n, bytes.ByteLength() / byte_size(dtypes.back()));
    if (info[3].IsArray())
      weights.push_back(info[3].As<Napi::Array>().Get(i).As<Napi::Number>().DoubleValue());
  }
  const uint32_t out_type = info[4].As<Napi::Number>().Uint32Value();
  if (pointers.empty() || out_type > static_cast<uint32_t>(DType::kBF16))
    throw Napi::TypeError::New(env, "meanBlock");
  const DType out_dtype = static_cast<DType>(out_type);
  Napi::Uint8Array out = Napi::Uint8Array::New(env, n * byte_size(out_dtype));
  MeanReport report;
  mean_kernel_named(env, text(info[0]))(
      {pointers.data(), dtypes.data(), weights.empty() ? nullptr : weights.data(),
       static_cast<uint32_t>(pointers.size()), n, out_dtype, out.Data()},
      &report);
  Napi::Object o = Napi::Object::New(env);
  o.Set("out", out);
  o.Set("nonfinite", report.nonfinite);
  o.Set("overflows", static_cast<double>(report.overflows));
  return o;
}

Napi::Value sha256_plain_of(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  return Napi::String::New(info.Env(), sha256_plain(bytes.Data(), bytes.ByteLength()));
}

}  // namespace stockpot

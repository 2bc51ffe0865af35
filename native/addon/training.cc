#include "training.h"

#include <cstring>

#include "../executor/executor.h"
#include "../kernels/dispatch.h"
#include "../stream/budget.h"
#include "../stream/device_dot_job.h"
#include "../stream/dot_job.h"
#include "device.h"
#include "environment.h"
#include "held.h"
#include "network.h"
#include "tables.h"
#include "values.h"

namespace stockpot {
namespace {

std::shared_ptr<Network> trained(Napi::Env env, const Napi::Value& handle) {
  auto network = network_of(env, handle);
  if (!network->training()) fail(env, "the network was made without a backward pass");
  return network;
}

class BackwardJob : public Job {
 public:
  BackwardJob(std::shared_ptr<Network> network, std::vector<InputData> inputs, uint32_t batch,
              std::vector<float> dout, bool fresh)
      : network_(std::move(network)),
        inputs_(std::move(inputs)),
        batch_(batch),
        dout_(std::move(dout)),
        fresh_(fresh) {}

 protected:
  void work() override {
    const auto lease =
        ThreadBudget::process().take(network_->threads(), [this] { return stopping(); });
    if (lease.threads() == 0) return;
    try {
      if (fresh_) network_->zero_gradients();
      const std::string wrong =
          network_->backward(inputs_, batch_, dout_.data(), [this] { return stopping(); });
      if (!wrong.empty()) fail({JobError::Kind::kInternal, 0, -1, -1, -1, wrong});
    } catch (const DeviceError& e) {
      fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
    }
  }

 private:
  std::shared_ptr<Network> network_;
  std::vector<InputData> inputs_;
  uint32_t batch_;
  std::vector<float> dout_;
  bool fresh_;
};

// What `copy` gives, by a network of the processor or of a device.
template <class Copy>
std::vector<float> copied(Napi::Env env, const Copy& copy) {
  try {
    return copy();
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  }
}

Napi::Float32Array array_of(Napi::Env env, const std::vector<float>& from) {
  auto out = Napi::Float32Array::New(env, from.size());
  std::memcpy(out.Data(), from.data(), from.size() * sizeof(float));
  return out;
}

// Starts the job of `dot` and gives what came out.
template <class DotJobOf>
Napi::Value start_dot(Napi::Env env, const std::shared_ptr<DotJobOf>& job) {
  return Environment::of(env).start(env, job, [job](Napi::Env e) -> Napi::Value {
    const std::vector<double>& sums = job->sums();
    auto out = Napi::Float64Array::New(e, sums.size());
    std::memcpy(out.Data(), sums.data(), sums.size() * sizeof(double));
    Napi::Object o = Napi::Object::New(e);
    o.Set("sums", out);
    o.Set("bytesRead", static_cast<double>(job->bytes_read.load()));
    return o;
  });
}

}  // namespace

Napi::Value backward(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto network = trained(env, info[0]);
  const Graph& graph = network->graph();
  const uint32_t batch = batch_of(env, *network, info[2]);
  std::vector<InputData> inputs = inputs_of(env, *network, info[1], batch);
  const uint64_t n = graph.values[graph.output].columns * batch;
  if (!info[3].IsTypedArray() ||
      info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array ||
      info[3].As<Napi::TypedArray>().ElementLength() < n) {
    fail(env, "the output's gradient is too short");
  }
  const float* dout = info[3].As<Napi::Float32Array>().Data();
  const auto job = std::make_shared<BackwardJob>(network, std::move(inputs), batch,
                                                 std::vector<float>(dout, dout + n),
                                                 info[4].ToBoolean().Value());
  // Held until the job is over, so that nothing is collected under it.
  const auto reference =
      std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[1].As<Napi::Object>()));
  return Environment::of(env).start(
      env, job, [reference](Napi::Env e) -> Napi::Value { return e.Undefined(); });
}

// A table of sources, `k` a segment, with the `network` and the weight that each segment is, whose
// gradient its inputs are multiplied with.
Napi::Value dot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Tables t(env, info[0].As<Napi::Object>());
  const auto network = trained(env, t.object().Get("network"));
  const auto& weights = network->graph().weights;
  const auto ids = t.integers("networkWeights", 0, static_cast<int64_t>(weights.size()) - 1);
  const auto files = t.files();
  const auto k = static_cast<uint32_t>(t.integer("k", 1, kMostInputs));
  const auto threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  std::vector<uint64_t> elements;
  for (int64_t w : ids) elements.push_back(weights[static_cast<size_t>(w)].elements());
  std::deque<View> views;
  std::shared_ptr<void> held;
  std::vector<Source> sources = t.sources(files.size(), elements, k, &views, &held);
  for (const Source& s : sources) {
    if (s.file >= 0 && !is_float(s.dtype)) t.fail("sourceDtype", "must be floating-point");
  }
  if (const auto device = std::dynamic_pointer_cast<DeviceNetwork>(network)) {
    std::vector<uint64_t> vectors;
    try {
      for (int64_t w : ids) vectors.push_back(device->gradient(static_cast<int32_t>(w)));
    } catch (const DeviceError& e) {
      throw device_error(env, e);
    }
    DevicePassPlan plan{files, k, elements, std::move(sources), std::move(views), held, threads};
    plan.memory = static_cast<uint64_t>(t.integer("memory", 0, kSafe));
    return start_dot(env,
                     std::make_shared<DeviceDotJob>(device, std::move(vectors), std::move(plan)));
  }
  const auto executor = std::static_pointer_cast<Executor>(network);
  DotPlan plan;
  plan.files = files;
  plan.k = k;
  plan.threads = threads;
  plan.owner = executor;
  plan.elements = elements;
  for (int64_t w : ids) plan.vectors.push_back(executor->gradient(static_cast<int32_t>(w)));
  plan.sources = std::move(sources);
  plan.views = std::move(views);
  plan.held = held;
  size_t count;
  plan.kernel = mean_variants(&count)[0].dot;
  return start_dot(env, std::make_shared<DotJob>(std::move(plan)));
}

Napi::Value gradient(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto network = trained(env, info[0]);
  const uint32_t w = info[1].ToNumber().Uint32Value();
  if (w >= network->graph().weights.size()) fail(env, "no such weight");
  return array_of(env,
                  copied(env, [&] { return network->copy_gradient(static_cast<int32_t>(w)); }));
}

Napi::Value input_gradient(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto network = trained(env, info[0]);
  const uint32_t i = info[1].ToNumber().Uint32Value();
  if (i >= network->graph().inputs.size()) fail(env, "no such input");
  const std::vector<float> found =
      copied(env, [&] { return network->copy_input_gradient(static_cast<int32_t>(i)); });
  if (found.empty()) return env.Null();
  return array_of(env, found);
}

}  // namespace stockpot

#include "training.h"

#include <cstring>

#include "../kernels/dispatch.h"
#include "../stream/budget.h"
#include "../stream/dot_job.h"
#include "environment.h"
#include "held.h"
#include "network.h"
#include "tables.h"

namespace stockpot {
namespace {

constexpr int64_t kSafe = int64_t{1} << 53;
constexpr int64_t kMostInputs = 65535;

[[noreturn]] void fail(Napi::Env env, const std::string& what) {
  throw Napi::TypeError::New(env, "stockpot addon: " + what);
}

std::shared_ptr<Executor> trained(Napi::Env env, const Napi::Value& handle) {
  auto executor = executor_of(env, handle);
  if (!executor->training()) fail(env, "the network was made without a backward pass");
  return executor;
}

class BackwardJob : public Job {
 public:
  BackwardJob(std::shared_ptr<Executor> executor, std::vector<InputData> inputs, uint32_t batch,
              std::vector<float> dout, bool fresh)
      : executor_(std::move(executor)),
        inputs_(std::move(inputs)),
        batch_(batch),
        dout_(std::move(dout)),
        fresh_(fresh) {}

 protected:
  void work() override {
    const auto lease =
        ThreadBudget::process().take(executor_->threads(), [this] { return stopping(); });
    if (lease.threads() == 0) return;
    if (fresh_) executor_->zero_gradients();
    const std::string wrong =
        executor_->backward(inputs_, batch_, dout_.data(), [this] { return stopping(); });
    if (!wrong.empty()) fail({JobError::Kind::kInternal, 0, -1, -1, -1, wrong});
  }

 private:
  std::shared_ptr<Executor> executor_;
  std::vector<InputData> inputs_;
  uint32_t batch_;
  std::vector<float> dout_;
  bool fresh_;
};

Napi::Float32Array copy_of(Napi::Env env, const float* from, uint64_t n) {
  auto out = Napi::Float32Array::New(env, n);
  std::memcpy(out.Data(), from, n * sizeof(float));
  return out;
}

}  // namespace

Napi::Value backward(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto executor = trained(env, info[0]);
  const Graph& graph = executor->graph();
  const uint32_t batch = batch_of(env, *executor, info[2]);
  std::vector<InputData> inputs = inputs_of(env, graph, info[1], batch);
  const uint64_t n = graph.values[graph.output].columns * batch;
  if (!info[3].IsTypedArray() ||
      info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array ||
      info[3].As<Napi::TypedArray>().ElementLength() < n) {
    fail(env, "the output's gradient is too short");
  }
  const float* dout = info[3].As<Napi::Float32Array>().Data();
  const auto job = std::make_shared<BackwardJob>(executor, std::move(inputs), batch,
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
  const auto executor = trained(env, t.object().Get("network"));
  const auto& weights = executor->graph().weights;
  DotPlan plan;
  plan.files = t.files();
  plan.k = static_cast<uint32_t>(t.integer("k", 1, kMostInputs));
  plan.threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  plan.owner = executor;
  for (int64_t w : t.integers("networkWeights", 0, static_cast<int64_t>(weights.size()) - 1)) {
    plan.elements.push_back(weights[static_cast<size_t>(w)].elements());
    plan.vectors.push_back(executor->gradient(static_cast<int32_t>(w)));
  }
  plan.sources = t.sources(plan.files.size(), plan.elements, plan.k, &plan.views, &plan.held);
  for (const Source& s : plan.sources) {
    if (s.file >= 0 && !is_float(s.dtype)) t.fail("sourceDtype", "must be floating-point");
  }
  size_t count;
  plan.kernel = mean_variants(&count)[0].dot;
  const auto job = std::make_shared<DotJob>(std::move(plan));
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

Napi::Value gradient(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto executor = trained(env, info[0]);
  const uint32_t w = info[1].ToNumber().Uint32Value();
  if (w >= executor->graph().weights.size()) fail(env, "no such weight");
  return copy_of(env, executor->gradient(static_cast<int32_t>(w)),
                 executor->graph().weights[w].elements());
}

Napi::Value input_gradient(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto executor = trained(env, info[0]);
  const uint32_t i = info[1].ToNumber().Uint32Value();
  if (i >= executor->graph().inputs.size()) fail(env, "no such input");
  const float* from = executor->input_gradient(static_cast<int32_t>(i));
  if (!from) return env.Null();
  return copy_of(env, from, executor->graph().inputs[i].elements);
}

}  // namespace stockpot

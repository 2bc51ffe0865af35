#include "network.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "../executor/executor.h"
#include "../stream/budget.h"
#include "../stream/device_network.h"
#include "../stream/graph_tables.h"
#include "device.h"
#include "environment.h"
#include "graph.h"
#include "resident_set.h"
#include "values.h"

namespace stockpot {
namespace {

constexpr napi_type_tag kTag = {0x5d1c2a4f86e14b73u, 0x9a0be3571fc84d26u};

uint64_t floats_of(Napi::Env env, const Napi::Value& v) {
  const double floats = v.ToNumber().DoubleValue();
  if (!(floats >= 0 && floats <= 9007199254740992.0)) fail(env, "floats is out of range");
  return static_cast<uint64_t>(floats);
}

// What values may take on a device, of so many float32 an example; 0 would be all that they need.
uint64_t activation_bytes(uint64_t floats, uint32_t batch) {
  const double bytes = 4.0 * static_cast<double>(floats) * batch;
  return bytes > 9e15 ? 0 : std::max<uint64_t>(static_cast<uint64_t>(bytes), 1);
}

Napi::Value plan_on_device(Napi::Env env, const Graph& graph, uint32_t batch,
                           const Napi::Value& floats, const Napi::Value& handle) {
  const OpenDevice& on = device_of(env, handle);
  const bool training = floats.IsNumber();
  const GraphTables tables(graph);
  stockpot_network_sizes sizes{};
  try {
    sizes = Device::Network::sizes(
        *on.device, tables.spec(on.number, batch, training,
                                training ? activation_bytes(floats_of(env, floats), batch) : 0));
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  }
  Napi::Object o = Napi::Object::New(env);
  o.Set("bytes",
        static_cast<double>(sizes.weights + sizes.activations + sizes.gradients + sizes.scratch));
  o.Set("variant", on.variant);
  o.Set("floats", std::ceil(static_cast<double>(sizes.activations) / 4 / batch));
  o.Set("segments", sizes.segments);
  return o;
}

// One batch forward.
class ForwardJob : public Job {
 public:
  ForwardJob(std::shared_ptr<Network> network, std::vector<InputData> inputs, uint32_t batch,
             float* out)
      : network_(std::move(network)), inputs_(std::move(inputs)), batch_(batch), out_(out) {}

 protected:
  void work() override {
    const auto lease =
        ThreadBudget::process().take(network_->threads(), [this] { return stopping(); });
    if (lease.threads() == 0) return;
    try {
      const std::string wrong = network_->run(inputs_, batch_, out_, [this] { return stopping(); });
      if (!wrong.empty()) fail({JobError::Kind::kInput, 0, -1, -1, -1, wrong});
    } catch (const DeviceError& e) {
      fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
    }
  }

 private:
  std::shared_ptr<Network> network_;
  std::vector<InputData> inputs_;
  uint32_t batch_;
  float* out_;
};

}  // namespace

std::shared_ptr<Network> network_of(Napi::Env env, const Napi::Value& handle) {
  if (!handle.IsExternal()) fail(env, "a network's handle is expected");
  const auto external = handle.As<Napi::External<std::shared_ptr<Network>>>();
  if (!external.CheckTypeTag(&kTag)) fail(env, "a network's handle is expected");
  if (!*external.Data()) fail(env, "the network was freed");
  return *external.Data();
}

uint32_t batch_of(Napi::Env env, const Network& network, const Napi::Value& v) {
  const uint32_t batch = v.ToNumber().Uint32Value();
  if (batch == 0 || batch > network.largest_batch()) fail(env, "batch is out of range");
  return batch;
}

std::vector<InputData> inputs_of(Napi::Env env, const Network& network, const Napi::Value& v,
                                 uint32_t batch) {
  const Graph& graph = network.graph();
  if (!v.IsArray() || v.As<Napi::Array>().Length() != graph.inputs.size())
    fail(env, "one array an input is expected");
  const auto given = v.As<Napi::Array>();
  std::vector<InputData> inputs;
  for (uint32_t i = 0; i < graph.inputs.size(); ++i) {
    const GraphInput& input = graph.inputs[i];
    const Napi::Value array = given.Get(i);
    InputData data;
    if (!array.IsTypedArray() && array.IsObject()) {
      const auto* on_device = dynamic_cast<const DeviceNetwork*>(&network);
      if (!on_device || input.shared) fail(env, "input " + input.name + " cannot be of a set");
      data = rows_of(env, array.As<Napi::Object>(), *on_device->device(), input, batch);
      inputs.push_back(std::move(data));
      continue;
    }
    const auto type = input.integers ? napi_int32_array : napi_float32_array;
    const uint64_t least = input.elements * (input.shared ? 1 : batch);
    if (!array.IsTypedArray() || array.As<Napi::TypedArray>().TypedArrayType() != type ||
        array.As<Napi::TypedArray>().ElementLength() < least) {
      fail(env, "input " + input.name + " has another type or is too short");
    }
    if (input.integers) {
      data.integers = array.As<Napi::Int32Array>().Data();
    } else {
      data.floats = array.As<Napi::Float32Array>().Data();
    }
    inputs.push_back(std::move(data));
  }
  return inputs;
}

// The memory of a network before it is made: planNetwork(graph, batch, threads, floats) -> { bytes,
// floats, segments, variant } of a plan for training in at most `floats` an example, or, without
// floats, of one for a forward pass.
Napi::Value plan_network(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Graph graph = read_graph(env, info[0]);
  const uint32_t batch = info[1].ToNumber().Uint32Value(),
                 threads = info[2].ToNumber().Uint32Value();
  if (info[4].IsExternal()) return plan_on_device(env, graph, batch, info[3], info[4]);
  uint64_t floats, segments = 0;
  ExecutorSizes sizes;
  if (info[3].IsNumber()) {
    const TrainingPlan plan = plan_training_within(graph, floats_of(env, info[3]));
    floats = plan.size;
    segments = plan.segments();
    sizes = executor_sizes(graph, &plan, batch, *network_ops());
  } else {
    floats = plan_memory(graph).size;
    sizes = executor_sizes(graph, nullptr, batch, *network_ops());
  }
  Napi::Object o = Napi::Object::New(env);
  o.Set("bytes", static_cast<double>(sizes.bytes(threads)));
  o.Set("variant", network_ops()->name);
  o.Set("floats", static_cast<double>(floats));
  o.Set("segments", static_cast<double>(segments));
  return o;
}

Napi::Value free_network(const Napi::CallbackInfo& info) {
  network_of(info.Env(), info[0]);
  info[0].As<Napi::External<std::shared_ptr<Network>>>().Data()->reset();
  return info.Env().Undefined();
}

Napi::Value create_network(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Graph graph = read_graph(env, info[0]);
  const uint32_t batch = info[1].ToNumber().Uint32Value(),
                 threads = info[2].ToNumber().Uint32Value();
  const std::string variant = info[3].IsString() ? info[3].As<Napi::String>().Utf8Value() : "";
  const NetworkOps* ops = network_ops(variant.empty() ? nullptr : variant.c_str());
  if (!ops) fail(env, "no variant " + variant + " on this machine");
  if (batch == 0 || batch > 1 << 20 || threads == 0 || threads > 4096)
    fail(env, "batch or threads are out of range");
  const bool training = info[4].IsNumber();
  std::shared_ptr<Network> network;
  const char* name = ops->name;
  try {
    if (info[5].IsExternal()) {
      const OpenDevice& on = device_of(env, info[5]);
      const uint64_t bytes = training ? activation_bytes(floats_of(env, info[4]), batch) : 0;
      network = std::make_shared<DeviceNetwork>(on.device, std::move(graph), on.number, batch,
                                                training, bytes);
      name = on.variant.c_str();
    } else if (training) {
      TrainingPlan plan = plan_training_within(graph, floats_of(env, info[4]));
      network = std::make_shared<Executor>(std::move(graph), std::move(plan), batch, threads, ops);
    } else {
      network = std::make_shared<Executor>(std::move(graph), batch, threads, ops);
    }
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  } catch (const std::exception&) {
    throw Napi::RangeError::New(env, "out of memory");
  }
  auto external = Napi::External<std::shared_ptr<Network>>::New(
      env, new std::shared_ptr<Network>(network),
      [](Napi::Env, std::shared_ptr<Network>* p) { delete p; });
  external.TypeTag(&kTag);
  Napi::Object o = Napi::Object::New(env);
  o.Set("handle", external);
  o.Set("bytes", static_cast<double>(network->bytes()));
  o.Set("variant", name);
  return o;
}

Napi::Value forward(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto network = network_of(env, info[0]);
  const Graph& graph = network->graph();
  const uint32_t batch = batch_of(env, *network, info[2]);
  std::vector<InputData> inputs = inputs_of(env, *network, info[1], batch);
  const uint64_t columns = graph.values[graph.output].columns;
  if (!info[3].IsTypedArray() ||
      info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array ||
      info[3].As<Napi::TypedArray>().ElementLength() < columns * batch) {
    fail(env, "the output is too short");
  }
  const auto job = std::make_shared<ForwardJob>(network, std::move(inputs), batch,
                                                info[3].As<Napi::Float32Array>().Data());
  // Held until the job is over, so that nothing is collected under it.
  Napi::Array held = Napi::Array::New(env, 2);
  held.Set(0u, info[1]);
  held.Set(1u, info[3]);
  const auto reference =
      std::make_shared<Napi::ObjectReference>(Napi::Persistent(held.As<Napi::Object>()));
  return Environment::of(env).start(
      env, job, [reference](Napi::Env e) -> Napi::Value { return e.Undefined(); });
}

}  // namespace stockpot

#include "network.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "../executor/executor.h"
#include "../stream/budget.h"
#include "../stream/device_network.h"
#include "../stream/graph_tables.h"
#include "device.h"
#include "environment.h"

namespace stockpot {
namespace {

constexpr napi_type_tag kTag = {0x5d1c2a4f86e14b73u, 0x9a0be3571fc84d26u};

[[noreturn]] void fail(Napi::Env env, const std::string& what) {
  throw Napi::TypeError::New(env, "stockpot addon: " + what);
}

// Reads one operation or table of lib/models/graph.ts.
class Reader {
 public:
  Reader(Napi::Env env, const Napi::Value& v) : env_(env), object_(check(env, v)) {}

  std::string text(const char* field) const {
    const Napi::Value v = object_.Get(field);
    if (!v.IsString()) fail(env_, std::string(field) + " must be a string");
    return v.As<Napi::String>().Utf8Value();
  }
  // `otherwise` where the field is absent or null.
  double number(const char* field, double otherwise) const {
    const Napi::Value v = object_.Get(field);
    if (v.IsUndefined() || v.IsNull()) return otherwise;
    if (v.IsBoolean()) return v.As<Napi::Boolean>().Value() ? 1 : 0;
    if (!v.IsNumber()) fail(env_, std::string(field) + " must be a number");
    return v.As<Napi::Number>().DoubleValue();
  }
  int64_t integer(const char* field, double otherwise = NAN) const {
    const double d = number(field, otherwise);
    if (!(std::fabs(d) <= 9007199254740992.0) || d != std::floor(d)) {
      fail(env_, std::string(field) + " must be an integer");
    }
    return static_cast<int64_t>(d);
  }
  int32_t index(const char* field) const {
    const int64_t i = integer(field, -1);
    if (i < -1 || i > INT32_MAX) fail(env_, std::string(field) + " is out of range");
    return static_cast<int32_t>(i);
  }
  std::vector<uint64_t> sizes(const char* field) const {
    std::vector<uint64_t> out;
    for (double d : numbers(field)) {
      if (!(d >= 0 && d <= 1e12) || d != std::floor(d))
        fail(env_, std::string(field) + " is out of range");
      out.push_back(static_cast<uint64_t>(d));
    }
    return out;
  }
  std::vector<double> numbers(const char* field) const {
    const Napi::Value v = object_.Get(field);
    if (!v.IsArray()) fail(env_, std::string(field) + " must be an array");
    const auto list = v.As<Napi::Array>();
    std::vector<double> out(list.Length());
    for (uint32_t i = 0; i < out.size(); ++i) out[i] = list.Get(i).ToNumber().DoubleValue();
    return out;
  }
  Napi::Value get(const char* field) const { return object_.Get(field); }

 private:
  static Napi::Object check(Napi::Env env, const Napi::Value& v) {
    if (!v.IsObject()) fail(env, "an object is expected");
    return v.As<Napi::Object>();
  }
  Napi::Env env_;
  Napi::Object object_;
};

Napi::Array list_of(Napi::Env env, const Reader& r, const char* field) {
  const Napi::Value v = r.get(field);
  if (!v.IsArray()) fail(env, std::string(field) + " must be an array");
  return v.As<Napi::Array>();
}

Activation activation_named(Napi::Env env, const std::string& name) {
  static const std::map<std::string, Activation> kNames = {
      {"none", Activation::kNone},          {"gelu", Activation::kGelu},
      {"gelu_tanh", Activation::kGeluTanh}, {"quick_gelu", Activation::kQuickGelu},
      {"relu", Activation::kRelu},          {"tanh", Activation::kTanh},
      {"silu", Activation::kSilu}};
  const auto found = kNames.find(name);
  if (found == kNames.end()) fail(env, "no activation " + name);
  return found->second;
}

GraphOp read_op(Napi::Env env, const Napi::Value& v) {
  const Reader r(env, v);
  const std::string name = r.text("op");
  GraphOp op{};
  op.out = r.index("out");
  op.x = r.index("x");
  op.input = r.index("input");
  const auto numbers = [&](std::initializer_list<const char*> fields) {
    for (const char* f : fields) op.numbers.push_back(r.integer(f));
  };
  if (name == "patches") {
    op.kind = OpKind::kPatches;
    numbers({"channels", "height", "width", "patch"});
  } else if (name == "embedding") {
    op.kind = OpKind::kEmbedding;
    op.weight = r.index("table");
    op.numbers = {0};
  } else if (name == "add_rows" || name == "add_row") {
    op.kind = name == "add_rows" ? OpKind::kAddRows : OpKind::kAddRow;
    op.weight = r.index("table");
    numbers({name == "add_rows" ? "first" : "row"});
  } else if (name == "add") {
    op.kind = OpKind::kAdd;
    op.x = r.index("a");
    op.y = r.index("b");
  } else if (name == "prepend_row") {
    op.kind = OpKind::kPrependRow;
    op.weight = r.index("row");
  } else if (name == "linear") {
    op.kind = OpKind::kLinear;
    op.weight = r.index("weight");
    op.bias = r.index("bias");
    op.scale_weight = r.index("scale");
    op.y = r.index("multiply");
    op.z = r.index("residual");
    op.activation = activation_named(env, r.text("activation"));
    op.transposed = r.integer("transposed", 0) != 0;
  } else if (name == "layer_norm" || name == "rms_norm") {
    op.kind = name == "layer_norm" ? OpKind::kLayerNorm : OpKind::kRmsNorm;
    op.weight = r.index("weight");
    op.bias = r.index("bias");
    op.number = static_cast<float>(r.number("epsilon", 0));
  } else if (name == "attention") {
    op.kind = OpKind::kAttention;
    op.x = r.index("q");
    op.y = r.index("k");
    op.z = r.index("v");
    op.input = r.index("mask");
    op.number = static_cast<float>(r.number("scale", 1));
    numbers(
        {"q_column", "k_column", "v_column", "heads", "width", "groups", "shared_kv", "causal"});
    if (r.get("bias").IsObject()) {
      const Reader bias(env, r.get("bias"));
      op.weight = bias.index("table");
      for (double b : bias.numbers("buckets")) {
        if (!(b >= 0 && b <= INT32_MAX)) fail(env, "buckets are out of range");
        op.buckets.push_back(static_cast<int32_t>(b));
      }
    }
  } else if (name == "select_row") {
    op.kind = OpKind::kSelectRow;
    numbers({"index"});
  } else if (name == "select_row_by_id") {
    op.kind = OpKind::kSelectRowById;
    op.numbers = {r.integer("equal", -1)};
  } else if (name == "mean_rows") {
    op.kind = OpKind::kMeanRows;
    numbers({"from"});
  } else if (name == "l2_normalize") {
    op.kind = OpKind::kL2Normalize;
  } else if (name == "scale") {
    op.kind = OpKind::kScale;
    op.number = static_cast<float>(r.number("by", 1));
    op.scale_weight = r.index("exp");
  } else if (name == "similarity") {
    op.kind = OpKind::kSimilarity;
  } else if (name == "log_likelihood") {
    op.kind = OpKind::kLogLikelihood;
    numbers({"classes"});
  } else {
    fail(env, "no operation " + name);
  }
  return op;
}

Graph read_graph(Napi::Env env, const Napi::Value& v) {
  const Reader r(env, v);
  Graph graph;
  const Napi::Array inputs = list_of(env, r, "inputs"), weights = list_of(env, r, "weights"),
                    values = list_of(env, r, "values"), ops = list_of(env, r, "ops");
  for (uint32_t i = 0; i < inputs.Length(); ++i) {
    const Reader input(env, inputs.Get(i));
    graph.inputs.push_back({input.text("name"), input.text("dtype") == "i32",
                            product(input.sizes("shape")), input.integer("shared") != 0});
  }
  for (uint32_t i = 0; i < weights.Length(); ++i) {
    graph.weights.push_back({Reader(env, weights.Get(i)).sizes("shape")});
  }
  for (uint32_t i = 0; i < values.Length(); ++i) {
    const Reader value(env, values.Get(i));
    graph.values.push_back({static_cast<uint64_t>(value.integer("rows")),
                            static_cast<uint64_t>(value.integer("columns"))});
  }
  for (uint32_t i = 0; i < ops.Length(); ++i) graph.ops.push_back(read_op(env, ops.Get(i)));
  graph.output = r.index("output");
  const std::string wrong = check(graph);
  if (!wrong.empty()) fail(env, "the graph does not fit together: " + wrong);
  return graph;
}

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

std::vector<InputData> inputs_of(Napi::Env env, const Graph& graph, const Napi::Value& v,
                                 uint32_t batch) {
  if (!v.IsArray() || v.As<Napi::Array>().Length() != graph.inputs.size())
    fail(env, "one array an input is expected");
  const auto given = v.As<Napi::Array>();
  std::vector<InputData> inputs;
  for (uint32_t i = 0; i < graph.inputs.size(); ++i) {
    const GraphInput& input = graph.inputs[i];
    const Napi::Value array = given.Get(i);
    const auto type = input.integers ? napi_int32_array : napi_float32_array;
    const uint64_t least = input.elements * (input.shared ? 1 : batch);
    if (!array.IsTypedArray() || array.As<Napi::TypedArray>().TypedArrayType() != type ||
        array.As<Napi::TypedArray>().ElementLength() < least) {
      fail(env, "input " + input.name + " has another type or is too short");
    }
    inputs.push_back({input.integers ? nullptr : array.As<Napi::Float32Array>().Data(),
                      input.integers ? array.As<Napi::Int32Array>().Data() : nullptr});
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
  std::vector<InputData> inputs = inputs_of(env, graph, info[1], batch);
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

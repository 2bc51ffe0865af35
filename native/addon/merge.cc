#include "merge.h"

#include <algorithm>
#include <string>

#include "../executor/executor.h"
#include "../stream/device_mix_job.h"
#include "../stream/merge_job.h"
#include "backend.h"
#include "device.h"
#include "environment.h"
#include "kernels.h"
#include "network.h"
#include "tables.h"
#include "values.h"

namespace stockpot {
namespace {

void check_segment(const Tables& t, const Segment& s, const Source* sources, uint32_t k,
                   bool weighted) {
  uint32_t taking_part = 0;
  for (uint32_t i = 0; i < k; ++i) {
    if (sources[i].file < 0) continue;
    ++taking_part;
    const DType in = sources[i].dtype;
    if (s.op == Op::kMean && !is_float(in))
      t.fail("sourceDtype", "of a mean must be floating-point");
    if ((s.op == Op::kSame || s.op == Op::kMax) && in != s.out_dtype) {
      t.fail("sourceDtype", "must be the output's");
    }
  }
  if (s.elements && taking_part == 0) t.fail("sourceFile", "names no input for a segment");
  if (s.op == Op::kCompare && taking_part != 2)
    t.fail("sourceFile", "must name two inputs to compare");
  if (s.op == Op::kMean && s.out_dtype > DType::kBF16)
    t.fail("outDtype", "must be F64, F32, F16 or BF16");
  if (s.op == Op::kMax && is_float(s.out_dtype)) t.fail("outDtype", "must be an integer type");
  if (s.op != Op::kMean && weighted) t.fail("weightSet", "is for means");
}

// A file that is hashed on the way has its tensors read in the order in which they lie: each block
// waits for the one before it, and would wait for ever.
void check_hashed(const Tables& t, const MergePlan& plan) {
  std::vector<uint64_t> at(plan.hash_prefix.begin(), plan.hash_prefix.end());
  std::vector<size_t> seen(plan.files.size(), SIZE_MAX);
  for (size_t i = 0; i < plan.sources.size(); ++i) {
    const Source& source = plan.sources[i];
    const size_t segment = i / plan.k;
    const uint64_t elements = plan.segments[segment].elements;
    if (source.file < 0 || source.held || elements == 0) continue;
    const auto file = static_cast<size_t>(source.file);
    if (plan.hash_prefix[file] < 0) continue;
    if (source.view || source.offset != at[file] || seen[file] == segment)
      t.fail("hashPrefix", "is for files whose tensors are read in their order, each once");
    at[file] += elements * byte_size(source.dtype);
    seen[file] = segment;
  }
}

// The weight of a network that each segment of the plan is: fields `network`, its handle, and
// `networkWeights`.
std::vector<int32_t> network_weights(const Tables& t, const Network& network,
                                     const MergePlan& plan) {
  const auto& weights = network.graph().weights;
  const auto ids = t.integers("networkWeights", 0, static_cast<int64_t>(weights.size()) - 1);
  if (ids.size() != plan.segments.size()) t.fail("networkWeights", "must have one entry a segment");
  for (size_t i = 0; i < ids.size(); ++i) {
    const Segment& s = plan.segments[i];
    if (!is_float(s.out_dtype) || weights[static_cast<size_t>(ids[i])].elements() != s.elements)
      t.fail("networkWeights", "do not fit the segments");
  }
  return {ids.begin(), ids.end()};
}

// The results become the weights of a network on the processor.
void consume_into_network(const Tables& t, const std::shared_ptr<Executor>& executor,
                          MergePlan* plan) {
  const auto ids = network_weights(t, *executor, *plan);
  std::vector<DType> types;
  for (const Segment& s : plan->segments) types.push_back(s.out_dtype);
  plan->consume = [executor, ids, types](uint32_t segment, uint64_t first, uint64_t count,
                                         const uint8_t* data) {
    executor->set_weight(ids[segment], first, count, types[segment], data);
  };
}

MergePlan read_plan(Napi::Env env, Napi::Object spec) {
  const Tables t(env, spec);
  MergePlan plan;
  plan.files = t.files();
  plan.k = static_cast<uint32_t>(t.integer("k", 1, kMostInputs));
  plan.threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  plan.memory = static_cast<uint64_t>(t.integer("memory", 0, kSafe));
  plan.chunk_bytes = static_cast<uint64_t>(t.integer("chunkBytes", 0, 1 << 26));
  plan.kernel = mean_kernel_named(env, text(spec.Get("variant")));
  const std::string sink = text(spec.Get("sink"));
  plan.sink = sink == "file"      ? SinkKind::kFile
              : sink == "pipe"    ? SinkKind::kPipe
              : sink == "compare" ? SinkKind::kCompare
              : sink == "network" ? SinkKind::kConsume
                                  : SinkKind::kDiscard;
  plan.hash_prefix = t.integers("hashPrefix", -1, 1 << 28);
  if (plan.hash_prefix.size() != plan.files.size())
    t.fail("hashPrefix", "must have one entry a file");
  plan.weights = t.numbers("weights");
  if (plan.weights.size() % plan.k) t.fail("weights", "must be rows of k");

  const Napi::Value outputs = spec.Get("outputs");
  if (!outputs.IsArray() || outputs.As<Napi::Array>().Length() == 0)
    t.fail("outputs", "must be an array");
  const auto list = outputs.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto o = list.Get(i).As<Napi::Object>();
    const Napi::Value prefix = o.Get("prefix");
    if (!prefix.IsTypedArray() || !o.Get("fd").IsNumber())
      t.fail("outputs", "must hold {fd, prefix}");
    const auto bytes = prefix.As<Napi::Uint8Array>();
    plan.outputs.push_back({o.Get("fd").As<Napi::Number>().Int32Value(),
                            std::vector<uint8_t>(bytes.Data(), bytes.Data() + bytes.ByteLength()),
                            static_cast<uint64_t>(Tables(env, o).integer("offset", 0, kSafe))});
  }

  const auto op = t.integers("op", 0, 3);
  const auto out_dtype = t.integers("outDtype", 0, kDTypeCount - 1);
  const auto elements = t.integers("elements", 0, kSafe / 8);
  const auto output = t.integers("output", 0, static_cast<int64_t>(plan.outputs.size()) - 1);
  const auto weight_set =
      t.integers("weightSet", -1, static_cast<int64_t>(plan.weights.size() / plan.k) - 1);
  const size_t n = op.size();
  if (out_dtype.size() != n || elements.size() != n || output.size() != n ||
      weight_set.size() != n) {
    t.fail("op, outDtype, elements, output, weightSet", "must have one entry a segment");
  }
  if (!std::is_sorted(output.begin(), output.end())) t.fail("output", "must not fall");
  plan.sources =
      t.sources(plan.files.size(), std::vector<uint64_t>(elements.begin(), elements.end()), plan.k,
                &plan.views, &plan.held);
  for (size_t i = 0; i < n; ++i) {
    plan.segments.push_back({static_cast<Op>(op[i]), static_cast<DType>(out_dtype[i]),
                             static_cast<uint64_t>(elements[i]), static_cast<uint32_t>(output[i]),
                             static_cast<int32_t>(weight_set[i])});
    check_segment(t, plan.segments[i], &plan.sources[i * plan.k], plan.k, weight_set[i] >= 0);
  }
  check_hashed(t, plan);
  return plan;
}

Napi::Value findings_of(Napi::Env env, const std::vector<Finding>& findings) {
  static const char* const kKinds[] = {"nonfinite", "overflow", "unequal", "differs"};
  Napi::Array list = Napi::Array::New(env);
  uint32_t at = 0;
  for (const Finding& f : findings) {
    Napi::Object o = Napi::Object::New(env);
    o.Set("kind", kKinds[static_cast<int>(f.kind)]);
    o.Set("segment", f.segment);
    o.Set("input", f.input);
    o.Set("count", static_cast<double>(f.count));
    o.Set("first", f.first == UINT64_MAX ? -1.0 : static_cast<double>(f.first));
    o.Set("largest", f.largest);
    o.Set("sumOfSquares", f.sum_of_squares);
    list.Set(at++, o);
  }
  return list;
}

// A mix into the weights of a network on a device.
Napi::Value mix(Napi::Env env, const Tables& t, std::shared_ptr<DeviceNetwork> network,
                MergePlan plan) {
  for (const Segment& s : plan.segments) {
    if (s.op != Op::kMean) t.fail("op", "must be a mean");
  }
  auto weights = network_weights(t, *network, plan);
  std::shared_ptr<DeviceMixJob> job;
  try {
    job = std::make_shared<DeviceMixJob>(std::move(network), std::move(weights), std::move(plan));
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  }
  return Environment::of(env).start(env, job, [job](Napi::Env e) -> Napi::Value {
    Napi::Object o = Napi::Object::New(e);
    o.Set("findings", findings_of(e, job->findings()));
    o.Set("sha256", Napi::Array::New(e));
    o.Set("inputSha256", Napi::Array::New(e));
    o.Set("bytesRead", static_cast<double>(job->bytes_read.load()));
    o.Set("bytesWritten", 0.0);
    return o;
  });
}

}  // namespace

Napi::Value merge(const Napi::CallbackInfo& info) {
  const auto spec = info[0].As<Napi::Object>();
  MergePlan plan = read_plan(info.Env(), spec);
  if (plan.sink == SinkKind::kConsume) {
    const Tables t(info.Env(), spec);
    const auto network = network_of(info.Env(), spec.Get("network"));
    if (auto device = std::dynamic_pointer_cast<DeviceNetwork>(network))
      return mix(info.Env(), t, std::move(device), std::move(plan));
    consume_into_network(t, std::static_pointer_cast<Executor>(network), &plan);
  }
  const auto job = make_merge_job(info.Env(), spec, std::move(plan));
  return Environment::of(info.Env()).start(info.Env(), job, [job](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("findings", findings_of(env, job->findings()));
    o.Set("sha256", strings(env, job->hashes()));
    o.Set("inputSha256", strings(env, job->input_hashes()));
    o.Set("bytesRead", static_cast<double>(job->bytes_read.load()));
    o.Set("bytesWritten", static_cast<double>(job->bytes_written.load()));
    return o;
  });
}

}  // namespace stockpot

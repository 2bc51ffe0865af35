// The JavaScript face of the addon; lib/native.ts has its types. Nothing here decides anything:
// tables in, tables out.
#include <napi.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "../executor/executor.h"
#include "../hash/sha256.h"
#include "../kernels/dispatch.h"
#include "../stream/device_mix_job.h"
#include "../stream/hash_job.h"
#include "../stream/merge_job.h"
#include "../stream/read_ahead_job.h"
#include "backend.h"
#include "device.h"
#include "environment.h"
#include "gram.h"
#include "held.h"
#include "images.h"
#include "memory.h"
#include "network.h"
#include "tables.h"
#include "training.h"

#if defined(__linux__)
#include <fcntl.h>
#include <sys/syscall.h>
#endif

namespace stockpot {
namespace {

constexpr int64_t kSafe = int64_t{1} << 53;
constexpr int64_t kMostInputs = 65535;

std::string text(const Napi::Value& v) {
  return v.IsString() ? v.As<Napi::String>().Utf8Value() : "";
}

Napi::Error system_error(Napi::Env env, const char* call) {
  const int number = errno;
  Napi::Error e = Napi::Error::New(env, std::string(call) + ": " + std::strerror(number));
  e.Set("errno", Napi::Number::New(env, number));
  return e;
}

MeanKernel kernel_named(Napi::Env env, const std::string& name) {
  size_t count;
  const MeanVariant* variants = mean_variants(&count);
  if (name.empty()) return variants[0].kernel;
  for (size_t i = 0; i < count; ++i) {
    if (name == variants[i].name) return variants[i].kernel;
  }
  throw Napi::TypeError::New(env, "stockpot addon: no variant " + name + " on this machine");
}

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
  plan.kernel = kernel_named(env, text(spec.Get("variant")));
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

Napi::Array strings(Napi::Env env, const std::vector<std::string>& from) {
  Napi::Array list = Napi::Array::New(env, from.size());
  for (uint32_t i = 0; i < from.size(); ++i) list.Set(i, from[i]);
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

Napi::Value hash(const Napi::CallbackInfo& info) {
  const Tables t(info.Env(), info[0].As<Napi::Object>());
  HashPlan plan;
  plan.files = t.files();
  plan.threads = static_cast<uint32_t>(t.integer("threads", 1, 4096));
  const auto elements = t.integers("elements", 0, kSafe / 8);
  plan.elements.assign(elements.begin(), elements.end());
  plan.sources = t.sources(plan.files.size(), plan.elements, 1, &plan.views);
  for (const Source& s : plan.sources) {
    if (s.file < 0) t.fail("sourceFile", "must name a file");
  }
  const auto job = std::make_shared<HashJob>(std::move(plan));
  return Environment::of(info.Env()).start(info.Env(), job, [job](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("sha256", strings(env, job->hashes()));
    return o;
  });
}

// readAhead({ files, bytes }) -> job: asks for the first `bytes` of each file.
Napi::Value read_ahead(const Napi::CallbackInfo& info) {
  const Tables t(info.Env(), info[0].As<Napi::Object>());
  const auto files = t.files();
  const auto bytes = t.integers("bytes", 0, kSafe);
  if (bytes.size() != files.size()) t.fail("bytes", "must have one entry a file");
  std::vector<ReadAheadJob::File> list;
  for (size_t i = 0; i < files.size(); ++i)
    list.push_back({files[i], static_cast<uint64_t>(bytes[i])});
  const auto job = std::make_shared<ReadAheadJob>(std::move(list));
  return Environment::of(info.Env()).start(info.Env(), job, [job](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(env, static_cast<double>(job->bytes_read.load()));
  });
}

// meanBlock(variant, inputs: Uint8Array[], dtypes: number[], weights: number[] | null, outDtype:
// number)
//   -> { out: Uint8Array, nonfinite: boolean, overflows: number }. In memory, synchronous; for
//   tests of the kernels.
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
  kernel_named(env, text(info[0]))(
      {pointers.data(), dtypes.data(), weights.empty() ? nullptr : weights.data(),
       static_cast<uint32_t>(pointers.size()), n, out_dtype, out.Data()},
      &report);
  Napi::Object o = Napi::Object::New(env);
  o.Set("out", out);
  o.Set("nonfinite", report.nonfinite);
  o.Set("overflows", static_cast<double>(report.overflows));
  return o;
}

Napi::Value variants(const Napi::CallbackInfo& info) {
  size_t count;
  const MeanVariant* found = mean_variants(&count);
  Napi::Array list = Napi::Array::New(info.Env(), count);
  for (uint32_t i = 0; i < count; ++i) list.Set(i, found[i].name);
  return list;
}

// sha256Plain(bytes): the portable code's digest, for tests.
Napi::Value sha256_plain_of(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  return Napi::String::New(info.Env(), sha256_plain(bytes.Data(), bytes.ByteLength()));
}

// lock(fd): takes an exclusive lock that ends with the file descriptor or the process. False where
// another holds it.
Napi::Value lock(const Napi::CallbackInfo& info) {
  if (flock(info[0].As<Napi::Number>().Int32Value(), LOCK_EX | LOCK_NB) == 0)
    return Napi::Boolean::New(info.Env(), true);
  if (errno == EWOULDBLOCK) return Napi::Boolean::New(info.Env(), false);
  throw system_error(info.Env(), "flock");
}

// exchange(a, b): swaps two paths in one step. False where the file system cannot.
Napi::Value exchange(const Napi::CallbackInfo& info) {
#if defined(__linux__) && defined(SYS_renameat2)
  const std::string a = text(info[0]), b = text(info[1]);
  constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE
  if (syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0) {
    return Napi::Boolean::New(info.Env(), true);
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
    throw system_error(info.Env(), "renameat2");
#endif
  return Napi::Boolean::New(info.Env(), false);
}

// pipe(): [read end, write end].
Napi::Value make_pipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (pipe(ends) != 0) throw system_error(info.Env(), "pipe");
  Napi::Array list = Napi::Array::New(info.Env(), 2);
  list.Set(0u, ends[0]);
  list.Set(1u, ends[1]);
  return list;
}

// guard(path) / unguard(path): a path that is removed if this environment ends before unguard.
void guard(const Napi::CallbackInfo& info) { Environment::of(info.Env()).guard(text(info[0])); }
void unguard(const Napi::CallbackInfo& info) { Environment::of(info.Env()).unguard(text(info[0])); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  exports.Set("merge", Napi::Function::New(env, merge));
  exports.Set("hash", Napi::Function::New(env, hash));
  exports.Set("gram", Napi::Function::New(env, gram));
  exports.Set("gramBlock", Napi::Function::New(env, gram_block));
  exports.Set("createNetwork", Napi::Function::New(env, create_network));
  exports.Set("forward", Napi::Function::New(env, forward));
  exports.Set("planNetwork", Napi::Function::New(env, plan_network));
  exports.Set("backward", Napi::Function::New(env, backward));
  exports.Set("dot", Napi::Function::New(env, dot));
  exports.Set("gradient", Napi::Function::New(env, gradient));
  exports.Set("inputGradient", Napi::Function::New(env, input_gradient));
  exports.Set("openDevice", Napi::Function::New(env, open_device));
  exports.Set("closeDevice", Napi::Function::New(env, close_device));
  exports.Set("deviceMemory", Napi::Function::New(env, device_memory));
  exports.Set("createHeld", Napi::Function::New(env, create_held));
  exports.Set("hold", Napi::Function::New(env, hold));
  exports.Set("releaseHeld", Napi::Function::New(env, release_held));
  exports.Set("freeNetwork", Napi::Function::New(env, free_network));
  exports.Set("memoryHeld", Napi::Function::New(env, memory_held));
  exports.Set("roomForNetwork", Napi::Function::New(env, room_for_network));
  exports.Set("holdMemory", Napi::Function::New(env, hold_memory));
  exports.Set("releaseMemory", Napi::Function::New(env, release_memory));
  exports.Set("readAhead", Napi::Function::New(env, read_ahead));
  exports.Set("resample", Napi::Function::New(env, resample_image));
  exports.Set("probeBackend", Napi::Function::New(env, probe_backend));
  exports.Set("meanBlock", Napi::Function::New(env, mean_block));
  exports.Set("variants", Napi::Function::New(env, variants));
  exports.Set("sha256Plain", Napi::Function::New(env, sha256_plain_of));
  exports.Set("lock", Napi::Function::New(env, lock));
  exports.Set("exchange", Napi::Function::New(env, exchange));
  exports.Set("pipe", Napi::Function::New(env, make_pipe));
  exports.Set("guard", Napi::Function::New(env, guard));
  exports.Set("unguard", Napi::Function::New(env, unguard));
  return exports;
}

}  // namespace
}  // namespace stockpot

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  return stockpot::init(env, exports);
}
NODE_API_MODULE(stockpot, Init)

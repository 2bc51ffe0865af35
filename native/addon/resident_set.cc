#include "resident_set.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>

#include "device.h"
#include "environment.h"
#include "values.h"

namespace stockpot {
namespace {

constexpr napi_type_tag kTag = {0x1c95e2b70d6f4a83u, 0xa7e48b3f52d0691cu};
constexpr double kMost = 1e15;  // bytes

std::shared_ptr<ResidentSet>& handle_of(Napi::Env env, const Napi::Value& v) {
  if (v.IsExternal()) {
    const auto external = v.As<Napi::External<std::shared_ptr<ResidentSet>>>();
    if (external.CheckTypeTag(&kTag)) return *external.Data();
  }
  fail(env, "a set's handle is expected");
}

std::shared_ptr<ResidentSet> set_of(Napi::Env env, const Napi::Value& v) {
  const std::shared_ptr<ResidentSet>& set = handle_of(env, v);
  if (!set) fail(env, "the set was freed");
  return set;
}

uint64_t whole(Napi::Env env, const Napi::Value& v, const char* what, double most) {
  const double d = v.ToNumber().DoubleValue();
  if (!(d >= 1 && d <= most) || d != std::floor(d)) fail(env, std::string(what) + " is wrong");
  return static_cast<uint64_t>(d);
}

ResidentSet::Table table_of(Napi::Env env, const Napi::Value& v) {
  if (!v.IsObject()) fail(env, "a table is expected");
  const auto o = v.As<Napi::Object>();
  ResidentSet::Table t{
      whole(env, o.Get("rowBytes"), "rowBytes", kMost), o.Get("integers").ToBoolean().Value(), {}};
  const Napi::Value values = o.Get("values");
  if (values.IsUndefined()) {
    if (t.row_bytes % sizeof(float)) fail(env, "rowBytes is no multiple of 4");
    return t;
  }
  if (!values.IsTypedArray() || t.integers ||
      values.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    fail(env, "values must be a Float32Array");
  const auto array = values.As<Napi::Float32Array>();
  const uint64_t channels = array.ElementLength() / 256;
  if (channels < 1 || channels > 4 || array.ElementLength() % 256 || t.row_bytes % channels)
    fail(env, "values must be [1 to 4 channels, 256]");
  t.values.assign(array.Data(), array.Data() + array.ElementLength());
  return t;
}

}  // namespace

Napi::Value create_set(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Device> device = device_of(env, info[0]).device;
  const uint64_t rows = whole(env, info[1], "rows", INT32_MAX);
  if (!info[2].IsArray()) fail(env, "tables must be an array");
  const auto given = info[2].As<Napi::Array>();
  std::vector<ResidentSet::Table> tables;
  for (uint32_t i = 0; i < given.Length(); ++i) tables.push_back(table_of(env, given.Get(i)));
  if (!device->gathers()) return env.Null();
  std::shared_ptr<ResidentSet> set;
  try {
    set = std::make_shared<ResidentSet>(device, rows, std::move(tables));
  } catch (const DeviceError& e) {
    throw device_error(env, e);
  } catch (const std::bad_alloc&) {
    throw Napi::RangeError::New(env, "out of memory");
  }
  auto external = Napi::External<std::shared_ptr<ResidentSet>>::New(
      env, new std::shared_ptr<ResidentSet>(std::move(set)),
      [](Napi::Env, std::shared_ptr<ResidentSet>* p) { delete p; });
  external.TypeTag(&kTag);
  return external;
}

Napi::Value fill_set(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<ResidentSet> set = set_of(env, info[0]);
  const uint64_t rows = whole(env, info[1], "rows", static_cast<double>(set->rows()));
  if (rows > set->rows() - set->filled()) fail(env, "there are more rows than the set has");
  const auto& tables = set->tables();
  if (!info[2].IsArray() || info[2].As<Napi::Array>().Length() != tables.size())
    fail(env, "one array a table is expected");
  const auto given = info[2].As<Napi::Array>();
  std::vector<const uint8_t*> data;
  for (uint32_t i = 0; i < tables.size(); ++i) {
    const Napi::Value v = given.Get(i);
    const auto type = tables[i].integers         ? napi_int32_array
                      : tables[i].values.empty() ? napi_float32_array
                                                 : napi_uint8_array;
    if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != type ||
        v.As<Napi::TypedArray>().ByteLength() != rows * tables[i].row_bytes)
      fail(env, "a table's rows have another type or size");
    const void* at =
        type == napi_int32_array     ? static_cast<const void*>(v.As<Napi::Int32Array>().Data())
        : type == napi_float32_array ? static_cast<const void*>(v.As<Napi::Float32Array>().Data())
                                     : v.As<Napi::Uint8Array>().Data();
    data.push_back(static_cast<const uint8_t*>(at));
  }
  const auto job = std::make_shared<FillSetJob>(set, rows, std::move(data));
  // Held until the job is over, so that nothing is collected under it.
  const auto reference =
      std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[2].As<Napi::Object>()));
  return Environment::of(env).start(
      env, job, [reference](Napi::Env e) -> Napi::Value { return e.Undefined(); });
}

Napi::Value free_set(const Napi::CallbackInfo& info) {
  handle_of(info.Env(), info[0]).reset();
  return info.Env().Undefined();
}

InputData rows_of(Napi::Env env, const Napi::Object& given, const Device& device,
                  const GraphInput& input, uint32_t batch) {
  const std::shared_ptr<ResidentSet> set = set_of(env, given.Get("set"));
  if (set->device().get() != &device) fail(env, "the set is on another device");
  InputData data;
  data.table = given.Get("table").ToNumber().Uint32Value();
  if (data.table >= set->tables().size()) fail(env, "the set has no such table");
  const ResidentSet::Table& table = set->tables()[data.table];
  const uint64_t there = table.values.empty() ? table.row_bytes / sizeof(float) : table.row_bytes;
  const bool part = input.integers;  // the first columns of a longer text
  if (table.integers != input.integers ||
      !(there == input.elements || (part && there > input.elements)))
    fail(env, "the set's table does not fit input " + input.name);
  const Napi::Value rows = given.Get("rows");
  if (!rows.IsTypedArray() || rows.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array ||
      rows.As<Napi::TypedArray>().ElementLength() < batch)
    fail(env, "rows must be an Int32Array, one an example");
  const int32_t* at = rows.As<Napi::Int32Array>().Data();
  const int64_t filled = static_cast<int64_t>(set->filled());
  if (!std::all_of(at, at + batch, [&](int32_t r) { return r >= 0 && r < filled; }))
    throw Napi::RangeError::New(env, "stockpot addon: the set has no such row");
  data.rows = reinterpret_cast<const uint32_t*>(at);
  if (table.integers) data.ids = set->ids(data.table);
  data.set = set;
  return data;
}

}  // namespace stockpot

#pragma once
// As much of node-addon-api as native/addon/ uses, without Node: the fuzz target compiles the
// addon's own sources against this, so that what it gives is what JavaScript would give. Values are
// reference-counted; an array's bytes lie in a block of exactly their size, where AddressSanitizer
// sees the first step beside it.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define NODE_API_MODULE(name, init) \
  Napi::Object stockpot_addon(Napi::Env env) { return init(env, Napi::Object::New(env)); }

struct napi_type_tag {
  uint64_t lower, upper;
};
enum napi_typedarray_type {
  napi_uint8_array,
  napi_int32_array,
  napi_float32_array,
  napi_float64_array
};

namespace Napi {

class Value;
class CallbackInfo;

struct Data {
  enum Kind {
    kUndefined,
    kNull,
    kBoolean,
    kNumber,
    kString,
    kObject,
    kArray,
    kTyped,
    kExternal,
    kFunction
  };
  explicit Data(Kind k) : kind(k) {}
  ~Data() {
    if (finalize) finalize();
  }
  Kind kind;
  double number = 0;
  std::string text;
  std::map<std::string, std::shared_ptr<Data>> fields;
  std::vector<std::shared_ptr<Data>> items;
  napi_typedarray_type type = napi_uint8_array;
  std::unique_ptr<uint8_t[]> bytes;
  size_t byte_length = 0;
  void* external = nullptr;
  napi_type_tag tag{0, 0};
  std::function<void()> finalize;
  std::function<std::shared_ptr<Data>(const CallbackInfo&)> call;
};
using Ref = std::shared_ptr<Data>;

// A JavaScript exception.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
  template <class T>
  void Set(const char*, const T&) const {}  // a field of the exception
  template <class Env>
  static Error New(const Env&, const std::string& what) {
    return Error(what);
  }
};
using TypeError = Error;
using RangeError = Error;

class Env {
 public:
  Value Undefined() const;
  Value Null() const;
  template <class T>
  void SetInstanceData(T* data) const {
    instance() = data;
  }
  template <class T>
  T* GetInstanceData() const {
    return static_cast<T*>(instance());
  }

 private:
  static void*& instance() {
    static void* data = nullptr;
    return data;
  }
};

class Value {
 public:
  Value() : ref_(std::make_shared<Data>(Data::kUndefined)) {}
  explicit Value(Ref ref) : ref_(std::move(ref)) {}
  Napi::Env Env() const { return {}; }
  bool IsUndefined() const { return ref_->kind == Data::kUndefined; }
  bool IsNull() const { return ref_->kind == Data::kNull; }
  bool IsBoolean() const { return ref_->kind == Data::kBoolean; }
  bool IsNumber() const { return ref_->kind == Data::kNumber; }
  bool IsString() const { return ref_->kind == Data::kString; }
  bool IsArray() const { return ref_->kind == Data::kArray; }
  bool IsTypedArray() const { return ref_->kind == Data::kTyped; }
  bool IsExternal() const { return ref_->kind == Data::kExternal; }
  bool IsObject() const { return ref_->kind >= Data::kObject; }
  template <class T>
  T As() const {
    return T(ref_);
  }
  class Number ToNumber() const;
  class Boolean ToBoolean() const;
  const Ref& ref() const { return ref_; }

 protected:
  // What Node answers where a value is of another kind.
  void need(Data::Kind kind) const {
    if (ref_->kind != kind) throw Error("a value of another type was expected");
  }
  Ref ref_;
};

inline Value Env::Undefined() const { return Value(); }
inline Value Env::Null() const { return Value(std::make_shared<Data>(Data::kNull)); }

class Number : public Value {
 public:
  using Value::Value;
  static Number New(Napi::Env, double d) {
    auto ref = std::make_shared<Data>(Data::kNumber);
    ref->number = d;
    return Number(ref);
  }
  double DoubleValue() const {
    need(Data::kNumber);
    return ref_->number;
  }
  // ECMAScript's ToInt32 and ToUint32.
  uint32_t Uint32Value() const {
    const double d = DoubleValue();
    if (!(d - d == 0)) return 0;
    const double whole = d < 0 ? -std::floor(-d) : std::floor(d);
    const double rest = std::fmod(whole, 4294967296.0);
    return static_cast<uint32_t>(rest < 0 ? rest + 4294967296.0 : rest);
  }
  int32_t Int32Value() const { return static_cast<int32_t>(Uint32Value()); }
};

class Boolean : public Value {
 public:
  using Value::Value;
  static Boolean New(Napi::Env, bool b) {
    auto ref = std::make_shared<Data>(Data::kBoolean);
    ref->number = b;
    return Boolean(ref);
  }
  bool Value() const {
    need(Data::kBoolean);
    return ref_->number != 0;
  }
};

inline Number Value::ToNumber() const {
  return Number::New({}, IsNumber() || IsBoolean() ? ref_->number : IsNull() ? 0.0 : NAN);
}
inline Boolean Value::ToBoolean() const {
  return Boolean::New({}, IsObject() || ((IsNumber() || IsBoolean()) && ref_->number != 0));
}

class String : public Value {
 public:
  using Value::Value;
  static String New(Napi::Env, const std::string& text) {
    auto ref = std::make_shared<Data>(Data::kString);
    ref->text = text;
    return String(ref);
  }
  std::string Utf8Value() const {
    need(Data::kString);
    return ref_->text;
  }
};

class Object : public Value {
 public:
  using Value::Value;
  static Object New(Napi::Env) { return Object(std::make_shared<Data>(Data::kObject)); }
  Napi::Value Get(const std::string& field) const {
    if (!IsObject()) throw Error("an object was expected");
    const auto found = ref_->fields.find(field);
    return found == ref_->fields.end() ? Napi::Value() : Napi::Value(found->second);
  }
  void Set(const std::string& field, const Napi::Value& v) { ref_->fields[field] = v.ref(); }
  void Set(const std::string& field, double d) { Set(field, Number::New({}, d)); }
  void Set(const std::string& field, bool b) { Set(field, Boolean::New({}, b)); }
  void Set(const std::string& field, const char* text) { Set(field, String::New({}, text)); }
  void Set(const std::string& field, const std::string& text) { Set(field, String::New({}, text)); }
  template <class T, class = std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>>
  void Set(const std::string& field, T n) {
    Set(field, static_cast<double>(n));
  }
};

class Array : public Object {
 public:
  using Object::Object;
  using Object::Set;
  static Array New(Napi::Env, size_t n = 0) {
    auto ref = std::make_shared<Data>(Data::kArray);
    ref->items.resize(n);
    return Array(ref);
  }
  uint32_t Length() const {
    need(Data::kArray);
    return static_cast<uint32_t>(ref_->items.size());
  }
  using Object::Get;
  Napi::Value Get(uint32_t i) const {
    return i < ref_->items.size() && ref_->items[i] ? Napi::Value(ref_->items[i]) : Napi::Value();
  }
  void Set(uint32_t i, const Napi::Value& v) {
    if (i >= ref_->items.size()) ref_->items.resize(i + 1);
    ref_->items[i] = v.ref();
  }
  void Set(uint32_t i, const std::string& text) { Set(i, String::New({}, text)); }
  void Set(uint32_t i, const char* text) { Set(i, String::New({}, text)); }
  void Set(uint32_t i, double d) { Set(i, Number::New({}, d)); }
  void Set(uint32_t i, int d) { Set(i, Number::New({}, d)); }
};

class TypedArray : public Object {
 public:
  using Object::Object;
  napi_typedarray_type TypedArrayType() const {
    need(Data::kTyped);
    return ref_->type;
  }
  size_t ByteLength() const {
    need(Data::kTyped);
    return ref_->byte_length;
  }
  size_t ElementLength() const {
    static constexpr size_t kSizes[] = {1, 4, 4, 8};
    return ByteLength() / kSizes[TypedArrayType()];
  }
};

template <class T, napi_typedarray_type kType>
class TypedArrayOf : public TypedArray {
 public:
  using TypedArray::TypedArray;
  static TypedArrayOf New(Napi::Env, size_t n) {
    auto ref = std::make_shared<Napi::Data>(Napi::Data::kTyped);
    ref->type = kType;
    ref->byte_length = n * sizeof(T);
    ref->bytes.reset(new uint8_t[ref->byte_length]());
    return TypedArrayOf(ref);
  }
  T* Data() const {
    need(Napi::Data::kTyped);
    return reinterpret_cast<T*>(ref_->bytes.get());
  }
};
using Uint8Array = TypedArrayOf<uint8_t, napi_uint8_array>;
using Int32Array = TypedArrayOf<int32_t, napi_int32_array>;
using Float32Array = TypedArrayOf<float, napi_float32_array>;
using Float64Array = TypedArrayOf<double, napi_float64_array>;

template <class T>
class External : public Value {
 public:
  using Value::Value;
  template <class Finalize>
  static External New(Napi::Env env, T* data, Finalize finalize) {
    auto ref = std::make_shared<Napi::Data>(Napi::Data::kExternal);
    ref->external = data;
    ref->finalize = [env, data, finalize] { finalize(env, data); };
    return External(ref);
  }
  T* Data() const { return static_cast<T*>(ref_->external); }
  void TypeTag(const napi_type_tag* tag) { ref_->tag = *tag; }
  bool CheckTypeTag(const napi_type_tag* tag) const {
    return ref_->tag.lower == tag->lower && ref_->tag.upper == tag->upper;
  }
};

class CallbackInfo {
 public:
  explicit CallbackInfo(std::vector<Value> arguments) : arguments_(std::move(arguments)) {}
  Napi::Env Env() const { return {}; }
  Value operator[](size_t i) const { return i < arguments_.size() ? arguments_[i] : Value(); }

 private:
  std::vector<Value> arguments_;
};

class Function : public Object {
 public:
  using Object::Object;
  template <class Body>
  static Function New(Napi::Env, Body body) {
    auto ref = std::make_shared<Napi::Data>(Napi::Data::kFunction);
    ref->call = [body](const CallbackInfo& info) -> Ref {
      if constexpr (std::is_void_v<decltype(body(info))>) {
        body(info);
        return Napi::Value().ref();
      } else {
        return body(info).ref();
      }
    };
    return Function(ref);
  }
  Napi::Value Call(std::vector<Napi::Value> arguments) const {
    return Napi::Value(ref_->call(CallbackInfo(std::move(arguments))));
  }
};

using ObjectReference = Object;
inline Object Persistent(const Object& o) { return o; }

}  // namespace Napi

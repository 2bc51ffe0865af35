#include "tables.h"

#include <cmath>
#include <string>

#include "held.h"

namespace stockpot {
void Tables::fail(const char* field, const char* why) const {
  throw Napi::TypeError::New(env_, std::string("stockpot addon: ") + field + " " + why);
}

std::vector<double> Tables::numbers(const char* field) const {
  const Napi::Value v = spec_.Get(field);
  if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    fail(field, "must be a Float64Array");
  }
  const auto a = v.As<Napi::Float64Array>();
  return std::vector<double>(a.Data(), a.Data() + a.ElementLength());
}

std::vector<int64_t> Tables::integers(const char* field, int64_t least, int64_t most) const {
  std::vector<int64_t> out;
  for (double d : numbers(field)) {
    if (!(d >= static_cast<double>(least) && d <= static_cast<double>(most)) ||
        d != std::floor(d)) {
      fail(field, "holds a number out of range");
    }
    out.push_back(static_cast<int64_t>(d));
  }
  return out;
}

int64_t Tables::integer(const char* field, int64_t least, int64_t most) const {
  const Napi::Value v = spec_.Get(field);
  if (!v.IsNumber()) fail(field, "must be a number");
  const double d = v.As<Napi::Number>().DoubleValue();
  if (!(d >= static_cast<double>(least) && d <= static_cast<double>(most)) || d != std::floor(d)) {
    fail(field, "is out of range");
  }
  return static_cast<int64_t>(d);
}

std::vector<int> Tables::files() const {
  std::vector<int> fds;
  for (int64_t fd : integers("files", 0, INT32_MAX)) fds.push_back(static_cast<int>(fd));
  return fds;
}

std::vector<Source> Tables::sources(size_t file_count, const std::vector<uint64_t>& elements,
                                    size_t per_segment, std::deque<View>* views,
                                    std::shared_ptr<void>* held) const {
  const Napi::Value handle = spec_.Get("held");
  const bool in_memory = held && handle.IsExternal();
  const auto block = in_memory ? held_block_of(env_, handle) : nullptr;
  if (in_memory) *held = block;
  const Napi::Value device_handle = spec_.Get("deviceBlock");
  const bool on_device = held && device_handle.IsExternal();
  const auto device_block = on_device ? device_block_of(env_, device_handle) : nullptr;
  if (on_device) *held = device_block;
  const auto file =
      integers("sourceFile", -1, in_memory ? 0 : static_cast<int64_t>(file_count) - 1);
  const auto dtype = integers("sourceDtype", 0, kDTypeCount - 1);
  const auto offset = integers("sourceOffset", 0, kSafe);
  const auto view = integers("sourceView", -1, INT32_MAX);
  const size_t n = elements.size() * per_segment;
  if (file.size() != n || dtype.size() != n || offset.size() != n || view.size() != n) {
    fail("sourceFile, sourceDtype, sourceOffset, sourceView", "must have one entry a source");
  }
  const auto resident =
      on_device ? integers("deviceOffset", -1, kSafe) : std::vector<int64_t>(n, -1);
  if (resident.size() != n) fail("deviceOffset", "must have one entry a source");
  const Napi::Value listed = spec_.Get("views");
  if (!listed.IsArray()) fail("views", "must be an array");
  const auto list = listed.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value pair = list.Get(i);
    if (!pair.IsObject()) fail("views", "must hold {shape, strides}");
    const Tables t(env_, pair.As<Napi::Object>());
    View v;
    for (int64_t d : t.integers("shape", 1, kSafe)) v.shape.push_back(static_cast<uint64_t>(d));
    for (int64_t s : t.integers("strides", 0, kSafe)) v.strides.push_back(static_cast<uint64_t>(s));
    if (v.shape.size() != v.strides.size() || v.shape.empty())
      fail("views", "need one stride a dimension");
    views->push_back(std::move(v));
  }
  std::vector<Source> sources(n);
  for (size_t i = 0; i < n; ++i) {
    Source& s = sources[i];
    s.file = static_cast<int32_t>(file[i]);
    s.dtype = static_cast<DType>(dtype[i]);
    s.offset = static_cast<uint64_t>(offset[i]);
    if (s.file < 0) continue;
    // Everything in float64-safe integers: the last byte's position must be one too.
    const double count = static_cast<double>(elements[i / per_segment]);
    double last = count == 0 ? 0 : count - 1;
    if (view[i] >= 0) {
      if (static_cast<size_t>(view[i]) >= views->size())
        fail("sourceView", "points past the views");
      s.view = &(*views)[static_cast<size_t>(view[i])];
      double product = 1;
      last = 0;
      for (size_t d = 0; d < s.view->shape.size(); ++d) {
        product *= static_cast<double>(s.view->shape[d]);
        last += static_cast<double>(s.view->shape[d] - 1) * static_cast<double>(s.view->strides[d]);
      }
      if (product != count) fail("views", "have another number of elements than their segment");
    }
    if (resident[i] >= 0) {
      if (static_cast<double>(resident[i]) + count * static_cast<double>(byte_size(s.dtype)) >
          static_cast<double>(device_block->bytes)) {
        fail("deviceOffset", "reaches past the block");
      }
      s.resident = device_block->memory.address() + static_cast<uint64_t>(resident[i]);
    }
    if (block) {
      if (s.view) fail("sourceView", "is not for held tensors");
      if (static_cast<double>(s.offset) + count * static_cast<double>(byte_size(s.dtype)) >
          static_cast<double>(block->bytes)) {
        fail("sourceOffset", "reaches past the held block");
      }
      s.held = block->data.get() + s.offset;
      continue;
    }
    if (static_cast<double>(s.offset) + (last + 1) * 8 > static_cast<double>(kSafe)) {
      fail("sourceOffset", "reaches past 2^53 bytes");
    }
  }
  return sources;
}

}  // namespace stockpot

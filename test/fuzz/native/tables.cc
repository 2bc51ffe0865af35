// A libFuzzer target over everything that the addon takes from TypeScript: its own sources,
// compiled against the napi.h beside this file, get tables that are built from the input's bytes. A
// table is first made so that it holds together, and then up to two of its numbers and one of its
// fields are replaced by others, as an input's first bytes say: so checks are passed, and each is
// tried. Whatever comes, the addon answers or throws; the sanitizers see the rest.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "napi.h"

Napi::Object stockpot_addon(Napi::Env env);

namespace {

using Napi::Value;

constexpr double kSafe = 9007199254740992.0;
constexpr double kStrange[] = {-1,
                               0,
                               1,
                               2,
                               3,
                               7,
                               255,
                               4097,
                               65536,
                               1 << 24,
                               2147483647.0,
                               2147483648.0,
                               4294967296.0,
                               1099511627776.0,
                               kSafe / 8,
                               kSafe - 1,
                               kSafe,
                               -kSafe,
                               1e300,
                               0.5,
                               -0.0,
                               std::numeric_limits<double>::quiet_NaN(),
                               std::numeric_limits<double>::infinity()};
constexpr size_t kStranges = sizeof(kStrange) / sizeof(*kStrange);
constexpr size_t kFileBytes = 1 << 14;
constexpr double kMostMemory = 1 << 28;

// Files that tables may name: one with data, one that ends early, and one to write.
struct Files {
  int data, brief, out;
  Files() : data(memfd("data")), brief(memfd("brief")), out(memfd("out")) {
    std::vector<uint8_t> bytes(kFileBytes);
    uint32_t state = 1;
    for (uint8_t& b : bytes)
      b = static_cast<uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
    if (write(data, bytes.data(), bytes.size()) < 0 || write(brief, bytes.data(), 40) < 0)
      std::abort();
  }
  static int memfd(const char* name) { return memfd_create(name, 0); }
};

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {
    for (auto& t : twists_) t = {byte(), byte()};
    field_ = byte();
    field_as_ = byte();
  }
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  uint32_t upto(uint32_t most) { return (byte() | byte() << 8) % (most + 1); }
  bool chance() { return byte() & 1; }
  template <class T>
  T of(std::initializer_list<T> list) {
    return list.begin()[upto(static_cast<uint32_t>(list.size()) - 1)];
  }

  // A number of a table, unless it is one of those that are replaced.
  double number(double n) {
    ++numbers_;
    for (const auto& t : twists_) {
      if (t.at && t.at == numbers_) return kStrange[t.by % kStranges];
    }
    return n;
  }
  Value field(Value v) {
    if (++fields_ != field_) return v;
    switch (field_as_ % 6) {
      case 0:
        return Value();
      case 1:
        return Napi::Number::New({}, 3);
      case 2:
        return Napi::String::New({}, "merge");
      case 3:
        return Napi::Array::New({}, 2);
      case 4:
        return Napi::Float64Array::New({}, 1);
      default:
        return Napi::Object::New({});
    }
  }

 private:
  struct Twist {
    uint8_t at, by;
  };
  const uint8_t* data_;
  size_t size_, at_ = 0;
  Twist twists_[2];
  uint8_t field_, field_as_;
  uint32_t numbers_ = 0, fields_ = 0;
};

int32_t whole_number(double n) {
  return std::fabs(n) < 2147483648.0 ? static_cast<int32_t>(n) : INT32_MIN;
}

// One table under construction.
struct Table {
  Input& in;
  Napi::Object object = Napi::Object::New({});

  void set(const char* name, Value v) { object.Set(name, in.field(std::move(v))); }
  void number(const char* name, double n) { set(name, Napi::Number::New({}, in.number(n))); }
  void text(const char* name, const char* t) { set(name, Napi::String::New({}, t)); }
  void numbers(const char* name, const std::vector<double>& list) {
    auto array = Napi::Float64Array::New({}, list.size());
    for (size_t i = 0; i < list.size(); ++i) array.Data()[i] = in.number(list[i]);
    set(name, array);
  }
  // Elements of tensors. What a job plans is in proportion to them, which is for TypeScript to hold
  // to the files' sizes.
  void elements(const std::vector<double>& list) {
    auto array = Napi::Float64Array::New({}, list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const double n = in.number(list[i]);
      array.Data()[i] = n > 1 << 18 && n <= kSafe / 8 ? 1 << 18 : n;
    }
    set("elements", array);
  }
  void list(const char* name, const std::vector<double>& list) {
    auto array = Napi::Array::New({});
    for (size_t i = 0; i < list.size(); ++i)
      array.Set(static_cast<uint32_t>(i), in.number(list[i]));
    set(name, array);
  }
};

// Sources as SourceTable has them: `elements` of the segments, `k` a segment.
void sources(Table& t, const Files& files, const std::vector<double>& elements, size_t k,
             bool floats, const std::vector<double>* dtypes, Value held) {
  Input& in = t.in;
  t.numbers("files", {double(files.data), double(files.brief)});
  std::vector<double> file, dtype, offset, view;
  auto views = Napi::Array::New({});
  const bool in_memory = held.IsExternal();
  for (size_t s = 0; s < elements.size(); ++s) {
    for (size_t i = 0; i < k; ++i) {
      const uint8_t how = in.byte();
      file.push_back(how % 16 == 15 ? -1 : how % 16 == 14 && !in_memory ? 1 : 0);
      dtype.push_back(dtypes ? (*dtypes)[s] : in.upto(floats ? 5 : 14));
      offset.push_back(in.upto(in_memory ? 64 : kFileBytes / 2));
      view.push_back(-1);
      if (in_memory || how < 128 || elements[s] < 1) continue;
      // A view of as many elements: rows of a matrix, perhaps transposed or overlapping.
      const double rows = elements[s] > 1 && std::fmod(elements[s], 2) == 0 ? 2 : 1;
      Table v{in};
      v.numbers("shape", {rows, elements[s] / rows});
      v.numbers("strides", {double(in.upto(40)), double(in.upto(3))});
      view.back() = views.Length();
      views.Set(views.Length(), v.object);
    }
  }
  t.numbers("sourceFile", file);
  t.numbers("sourceDtype", dtype);
  t.numbers("sourceOffset", offset);
  t.numbers("sourceView", view);
  t.set("views", views);
  if (in_memory) t.set("held", held);
}

class Calls {
 public:
  explicit Calls(const Files& files) : files_(files), addon_(stockpot_addon({})) {}

  void run(Input& in) {
    switch (in.upto(5)) {
      case 0:
        return merge(in, Value(), {});
      case 1:
        return gram(in);
      case 2:
        return hash(in);
      case 3:
        return hold(in);
      case 4:
        return resample(in);
      default:
        return network(in);
    }
  }

 private:
  Value call(const char* name, std::vector<Value> arguments) {
    return addon_.Get(name).As<Napi::Function>().Call(std::move(arguments));
  }

  std::vector<double> some_elements(Input& in) {
    std::vector<double> list;
    for (size_t n = in.upto(4); list.size() < n;) list.push_back(in.upto(in.chance() ? 20 : 3000));
    return list;
  }

  // With a network: segments are its weights.
  void merge(Input& in, Value network, const std::vector<double>& weights, Value held = Value()) {
    Table t{in};
    const uint32_t k = 1 + in.upto(4);
    const bool into_network = network.IsExternal();
    const auto elements = into_network ? weights : some_elements(in);
    const size_t n = elements.size();
    const uint32_t sets = in.upto(2);
    t.number("k", k);
    t.number("threads", 1 + in.upto(2));
    t.number("memory", in.of({0, 1 << 12, 1 << 20}));
    t.number("chunkBytes", in.of({0, 64, 100, 1 << 14}));
    t.text("variant", in.of({"", "", "plain", "avx2", "none"}));
    const char* sink = into_network ? "network" : in.of({"file", "pipe", "compare", "discard"});
    t.text("sink", sink);
    std::vector<double> op, out_dtype, output, weight_set, ids, row, prefixes(2, -1);
    if (in.byte() % 8 == 7) prefixes[0] = in.upto(64);
    for (size_t i = 0; i < sets * k; ++i) row.push_back(in.upto(200) / 100.0 - 0.5);
    for (size_t i = 0; i < n; ++i) {
      op.push_back(into_network ? 0 : in.of({0, 0, 0, 1, 2, 3}));
      out_dtype.push_back(op.back() == 0   ? in.upto(3)
                          : op.back() == 2 ? 6 + in.upto(8)
                                           : in.upto(14));
      output.push_back(n > 1 && i + 1 == n && in.chance() ? 1 : 0);
      weight_set.push_back(op.back() == 0 && sets && in.chance() ? in.upto(sets - 1) : -1);
      ids.push_back(static_cast<double>(i));
    }
    auto outputs = Napi::Array::New({});
    for (uint32_t i = 0; i < 2; ++i) {
      Table o{in};
      // Never another descriptor: it would be one of the process's own.
      o.object.Set("fd", files_.out);
      o.set("prefix", Napi::Uint8Array::New({}, in.upto(40)));
      o.number("offset", in.upto(40));
      outputs.Set(i, o.object);
    }
    t.set("outputs", outputs);
    t.numbers("hashPrefix", prefixes);
    t.numbers("weights", row);
    t.numbers("op", op);
    t.numbers("outDtype", out_dtype);
    t.elements(elements);
    t.numbers("output", output);
    t.numbers("weightSet", weight_set);
    if (into_network) {
      t.set("network", network);
      t.numbers("networkWeights", ids);
    }
    std::vector<double> same;
    for (size_t i = 0; i < n; ++i)
      same.push_back(op[i] == 1 || op[i] == 2 ? out_dtype[i] : in.upto(5));
    sources(t, files_, elements, k, false, &same, held);
    call("merge", {t.object});
  }

  void gram(Input& in) {
    Table t{in};
    const auto elements = some_elements(in);
    const uint32_t k = 1 + in.upto(4), groups = 1 + in.upto(2);
    std::vector<double> group;
    for (size_t i = 0; i < elements.size(); ++i) group.push_back(in.upto(groups - 1));
    t.number("k", k);
    t.number("threads", 1 + in.upto(2));
    t.number("memory", in.of({0, 1 << 12, 1 << 20}));
    // Sums for each group are what the table asks for, and are allocated.
    t.object.Set("groups", double(groups));
    t.text("variant", in.of({"", "plain", "avx2", "none"}));
    t.elements(elements);
    t.numbers("group", group);
    sources(t, files_, elements, k, true, nullptr, Value());
    call("gram", {t.object});
  }

  void hash(Input& in) {
    Table t{in};
    const auto elements = some_elements(in);
    t.number("threads", 1 + in.upto(2));
    t.elements(elements);
    sources(t, files_, elements, 1, false, nullptr, Value());
    call("hash", {t.object});
  }

  // Reads into a held block, from which a merge then reads.
  void hold(Input& in) {
    const Value block = call("createHeld", {Napi::Number::New({}, in.upto(1 << 14))});
    Table t{in};
    const auto elements = some_elements(in);
    std::vector<double> offsets;
    for (size_t i = 0; i < elements.size(); ++i) offsets.push_back(in.upto(1 << 10));
    // Places may overlap here, as they never do where TypeScript makes them; threads would then
    // race for them.
    t.number("threads", 1);
    t.elements(elements);
    t.set("block", block);
    t.numbers("blockOffset", offsets);
    sources(t, files_, elements, 1, false, nullptr, Value());
    call("hold", {t.object});
    merge(in, Value(), {}, block);
    if (in.chance()) call("releaseHeld", {block});
  }

  static Napi::Int32Array integers(Input& in, const std::vector<double>& list) {
    auto array = Napi::Int32Array::New({}, list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      array.Data()[i] = whole_number(in.number(list[i]));
    }
    return array;
  }

  static Napi::Object taps(Input& in, uint32_t source, uint32_t count) {
    const uint32_t width = 1 + in.upto(4);
    std::vector<double> start, length, weights;
    for (uint32_t i = 0; i < count; ++i) {
      length.push_back(in.upto(std::min(width, source)));
      start.push_back(in.upto(source - static_cast<uint32_t>(length.back())));
      for (uint32_t j = 0; j < width; ++j) weights.push_back(double(in.upto(65535)) * 90 - 1e6);
    }
    Table t{in};
    t.set("start", integers(in, start));
    t.set("length", integers(in, length));
    t.set("weights", integers(in, weights));
    t.number("width", width);
    return t.object;
  }

  void resample(Input& in) {
    Table t{in};
    const uint32_t sw = 1 + in.upto(40), sh = 1 + in.upto(20), w = 1 + in.upto(40),
                   h = 1 + in.upto(20);
    const uint32_t left = in.upto(w - 1), top = in.upto(h - 1);
    t.number("sourceWidth", sw);
    t.number("sourceHeight", sh);
    t.number("width", w);
    t.number("height", h);
    t.number("left", left);
    t.number("top", top);
    t.set("columns", taps(in, sw, in.upto(w - left)));
    t.set("rows", taps(in, sh, in.upto(h - top)));
    auto rgb = Napi::Uint8Array::New({}, size_t{3} * sw * sh);
    for (size_t i = 0; i < rgb.ByteLength(); ++i) rgb.Data()[i] = static_cast<uint8_t>(i * 37);
    t.set("rgb", rgb);
    t.set("planes", Napi::Uint8Array::New({}, size_t{3} * w * h));
    t.text("variant", in.of({"", "plain", "avx2", "none"}));
    call("resample", {t.object});
  }

  // A graph of operations that fit one another, as far as nothing was replaced.
  struct Net {
    explicit Net(Input& i) : in(i) {}
    Input& in;
    Napi::Array inputs = Napi::Array::New({}), weights = Napi::Array::New({}),
                values = Napi::Array::New({}), ops = Napi::Array::New({});
    std::vector<Value> data;
    std::vector<double> weight_elements;
    std::vector<std::pair<uint32_t, uint32_t>> sizes;  // rows, columns

    double input(uint32_t elements, bool whole, bool shared, uint32_t batch) {
      Table t{in};
      t.text("name", "x");
      t.text("dtype", whole ? "i32" : "f32");
      t.list("shape", {double(elements)});
      t.number("shared", shared);
      const size_t n = size_t{elements} * (shared ? 1 : batch);
      if (whole) {
        auto a = Napi::Int32Array::New({}, n);
        for (size_t i = 0; i < n; ++i) a.Data()[i] = whole_number(in.number(in.upto(3)));
        data.push_back(a);
      } else {
        auto a = Napi::Float32Array::New({}, n);
        for (size_t i = 0; i < n; ++i) a.Data()[i] = static_cast<float>(in.upto(100)) / 50 - 1;
        data.push_back(a);
      }
      inputs.Set(inputs.Length(), t.object);
      return inputs.Length() - 1;
    }
    double weight(std::vector<double> shape) {
      Table t{in};
      t.list("shape", shape);
      double elements = 1;
      for (double d : shape) elements *= d;
      weight_elements.push_back(elements);
      weights.Set(weights.Length(), t.object);
      return weights.Length() - 1;
    }
    double value(uint32_t rows, uint32_t columns) {
      Table t{in};
      t.number("rows", rows);
      t.number("columns", columns);
      sizes.push_back({rows, columns});
      values.Set(values.Length(), t.object);
      return values.Length() - 1;
    }
    Table op(const char* name) {
      Table t{in};
      t.text("op", name);
      return t;
    }
    void add(Table& t) { ops.Set(ops.Length(), t.object); }
  };

  static void grow(Net& g, uint32_t batch) {
    Input& in = g.in;
    const uint32_t columns = 1 + in.upto(9), tokens = 1 + in.upto(5);
    uint32_t rows;
    if (in.chance()) {
      const uint32_t channels = 1 + in.upto(2), patch = 1 + in.upto(2), across = 1 + in.upto(2);
      Table t = g.op("patches");
      t.number("input", g.input(channels * patch * patch * across, false, false, batch));
      for (const auto& [name, n] : {std::pair{"channels", channels},
                                    {"height", patch},
                                    {"width", patch * across},
                                    {"patch", patch}})
        t.number(name, n);
      rows = across;
      t.number("out", g.value(across, channels * patch * patch));
      g.add(t);
    } else {
      Table t = g.op("embedding");
      t.number("input", g.input(tokens, true, false, batch));
      t.number("table", g.weight({double(4 + in.upto(4)), double(columns)}));
      rows = tokens;
      t.number("out", g.value(rows, columns));
      g.add(t);
    }
    for (uint32_t n = in.upto(6); n > 0; --n) step(g, batch);
    const uint32_t last = static_cast<uint32_t>(g.sizes.size()) - 1;
    if (g.sizes[last].first == 1) return;
    Table t = g.op(in.chance() ? "mean_rows" : "select_row");
    t.number("x", last);
    const uint32_t row = in.upto(g.sizes[last].first - 1);
    t.number("from", row);
    t.number("index", row);
    t.number("out", g.value(1, g.sizes[last].second));
    g.add(t);
  }

  static void step(Net& g, uint32_t batch) {
    Input& in = g.in;
    const uint32_t x = static_cast<uint32_t>(g.sizes.size()) - 1;
    const uint32_t rows = g.sizes[x].first, columns = g.sizes[x].second;
    const auto unary = [&](const char* name) {
      Table t = g.op(name);
      t.number("x", x);
      return t;
    };
    const auto same = [&](Table& t) {
      t.number("out", g.value(rows, columns));
      g.add(t);
    };
    switch (in.upto(9)) {
      case 0: {
        Table t = unary("linear");
        const uint32_t to = 1 + in.upto(9);
        const bool transposed = in.chance();
        t.number("weight", g.weight(transposed ? std::vector<double>{double(columns), double(to)}
                                               : std::vector<double>{double(to), double(columns)}));
        if (in.chance()) t.number("bias", g.weight({double(to)}));
        if (in.chance()) t.number("scale", g.weight({double(to)}));
        if (in.chance() && to == columns) t.number("residual", x);
        if (in.chance() && to == columns) t.number("multiply", x);
        t.text("activation",
               in.of({"none", "gelu", "gelu_tanh", "quick_gelu", "relu", "tanh", "silu", "odd"}));
        t.number("transposed", transposed);
        t.number("out", g.value(rows, to));
        return g.add(t);
      }
      case 1: {
        const bool layer = in.chance();
        Table t = unary(layer ? "layer_norm" : "rms_norm");
        t.number("weight", g.weight({double(columns)}));
        if (layer) t.number("bias", g.weight({double(columns)}));
        t.number("epsilon", 1e-5);
        return same(t);
      }
      case 2: {
        Table t = g.op("attention");
        const uint32_t heads = 1 + in.upto(1), width = columns / heads;
        if (width == 0) return;
        for (const char* name : {"q", "k", "v"}) t.number(name, x);
        for (const char* name : {"q_column", "k_column", "v_column"})
          t.number(name, in.upto(columns - heads * width));
        t.number("heads", heads);
        t.number("width", width);
        const uint32_t groups = rows % 2 == 0 && in.chance() ? 2 : 1, keys = rows / groups;
        t.number("groups", groups);
        t.number("shared_kv", 0);
        t.number("causal", in.chance());
        t.number("scale", 0.5);
        if (in.chance()) t.number("mask", g.input(keys, true, in.chance(), batch));
        if (in.chance()) {
          Table bias{in};
          bias.number("table", g.weight({3, double(heads)}));
          std::vector<double> buckets;
          for (uint32_t i = 0; i < keys * keys; ++i) buckets.push_back(in.upto(2));
          bias.list("buckets", buckets);
          t.set("bias", bias.object);
        }
        t.number("out", g.value(rows, heads * width));
        return g.add(t);
      }
      case 3: {
        Table t = unary("add_rows");
        const uint32_t first = in.upto(2);
        t.number("table", g.weight({double(rows + first), double(columns)}));
        t.number("first", first);
        return same(t);
      }
      case 4: {
        Table t = unary("add_row");
        t.number("table", g.weight({2, double(columns)}));
        t.number("row", in.upto(1));
        return same(t);
      }
      case 5: {
        Table t = unary("prepend_row");
        t.number("row", g.weight({double(columns)}));
        t.number("out", g.value(rows + 1, columns));
        return g.add(t);
      }
      case 6: {
        Table t = g.op("add");
        t.number("a", x);
        t.number("b", x);
        return same(t);
      }
      case 7: {
        Table t = unary(in.chance() ? "l2_normalize" : "scale");
        t.number("by", 2);
        if (in.chance()) t.number("exp", g.weight({1}));
        return same(t);
      }
      case 8: {
        Table t = unary("similarity");
        const uint32_t classes = 1 + in.upto(3);
        t.number("input", g.input(classes * columns, false, true, batch));
        t.number("out", g.value(rows, classes));
        return g.add(t);
      }
      default: {
        const bool by_id = in.chance();
        Table t = unary(by_id ? "select_row_by_id" : "log_likelihood");
        t.number("input", g.input(rows, true, !by_id, batch));
        t.number("equal", in.upto(2) - 1.0);
        t.number("classes", 1);
        t.number("out", g.value(1, by_id ? columns : 1));
        return g.add(t);
      }
    }
  }

  void network(Input& in) {
    const uint32_t batch = 1 + in.upto(2);
    Net g(in);
    grow(g, batch);
    Table t{in};
    t.set("inputs", g.inputs);
    t.set("weights", g.weights);
    t.set("values", g.values);
    t.set("ops", g.ops);
    t.number("output", static_cast<double>(g.sizes.size()) - 1);
    const bool training = in.chance();
    const Value size = Napi::Number::New({}, in.number(batch)),
                threads = Napi::Number::New({}, 1 + in.upto(1)),
                floats = training
                             ? Value(Napi::Number::New({}, in.number(in.of({0, 100, 1 << 20}))))
                             : Value();
    // As lib/evaluate/network_memory.ts: no network is made that does not fit.
    const auto plan = call("planNetwork", {t.object, size, threads, floats}).As<Napi::Object>();
    if (!(plan.Get("bytes").ToNumber().DoubleValue() <= kMostMemory)) return;
    const auto made =
        call("createNetwork",
             {t.object, size, threads,
              Napi::String::New({}, in.of({"", "", "portable", "avx2", "none"})), floats})
            .As<Napi::Object>();
    const Value handle = made.Get("handle");
    auto inputs = Napi::Array::New({});
    for (const Value& v : g.data) inputs.Set(inputs.Length(), v);
    const size_t outputs = size_t{g.sizes.back().second} * batch;
    merge(in, handle, g.weight_elements);
    const Value passed = in.field(inputs), given = Napi::Number::New({}, in.number(batch));
    call("forward", {handle, passed, given, Napi::Float32Array::New({}, outputs)});
    if (training) {
      call("backward", {handle, passed, given, Napi::Float32Array::New({}, outputs),
                        Napi::Boolean::New({}, true)});
      call("gradient", {handle, Napi::Number::New({}, in.number(0))});
      call("inputGradient", {handle, Napi::Number::New({}, in.number(0))});
      Table d{in};
      const uint32_t k = 1 + in.upto(3);
      std::vector<double> ids;
      for (size_t i = 0; i < g.weight_elements.size(); ++i) ids.push_back(static_cast<double>(i));
      d.number("k", k);
      d.number("threads", 1);
      d.set("network", handle);
      d.numbers("networkWeights", ids);
      sources(d, files_, g.weight_elements, k, true, nullptr, Value());
      call("dot", {d.object});
    }
    if (in.chance()) call("freeNetwork", {handle});
  }

  const Files& files_;
  Napi::Object addon_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Files files;
  static Calls calls(files);
  if (ftruncate(files.out, 0) || lseek(files.out, 0, SEEK_SET)) std::abort();
  Input in(data, size);
  try {
    calls.run(in);
  } catch (const Napi::Error&) {
    // A table that is refused is a TypeError in JavaScript.
  }
  return 0;
}

#ifdef STOCKPOT_FUZZ_DRIVER
// Without libFuzzer (another compiler): so many inputs that follow from a seed, or the files that
// are named.
int main(int argc, char** argv) {
  const long runs = argc > 1 ? std::atol(argv[1]) : 1000;
  uint64_t state = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::vector<uint8_t> bytes(512);
  for (long i = 0; i < runs; ++i) {
    for (uint8_t& b : bytes)
      b = static_cast<uint8_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 56);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%ld inputs\n", runs);
}
#endif
